"""`qwen3cpu search`: its output, its errors, and the index that it leaves when it is stopped."""

import json
import os
import signal

import pytest
from cli_runs import environment, run, start
from retrieval_models import write_embedding_model, write_scoring_model

import qwen3cpu
from qwen3cpu.search import INDEX_NAME, SearchIndex, answer_messages

pytest.importorskip("sqlite_vec")


@pytest.fixture(scope="module")
def embedding(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "model"
    write_embedding_model(path)
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "sky.md").write_text("# Sky\n\nThe sky is blue.\n\n# Number\n\nA number\nis no sky.\n")
    (path / "hello.txt").write_text("hello world\n")
    return path


def search(embedding, *arguments, **more):
    return run("search", *arguments, "-m", embedding, "-t", "1", **more)


def hits(embedding, folder, **options):
    with SearchIndex(folder, qwen3cpu.load(embedding, threads=1)) as index:
        index.update()
        return index.search("what is blue?", **options)


def test_places_scores_and_texts_are_printed(embedding, folder):
    done = search(embedding, folder, "what is blue?")
    assert (done.returncode, done.stderr) == (0, "")
    blocks = []
    for hit in hits(embedding, folder):
        text = "\n".join(f"    {line}" if line else "" for line in hit.text.split("\n"))
        blocks.append(f"{hit.place}  {hit.score:.3f}\n{text}\n")
    assert done.stdout == "\n".join(blocks)
    assert len(blocks) == 3
    assert "sky.md:5  " in done.stdout


def test_json_has_everything(embedding, folder):
    done = search(embedding, folder, "what is blue?", "--json", "--top-n", "2")
    expected = [hit.to_dict() for hit in hits(embedding, folder, top_n=2)]
    assert json.loads(done.stdout) == {"question": "what is blue?", "hits": expected}


def test_flags_reach_the_index(embedding, folder, tmp_path):
    index = tmp_path / "index"
    flags = ("--index", index, "--dimensions", "32", "--instruction", "Find a colour")
    done = search(embedding, folder, "what is blue?", "--json", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / INDEX_NAME).exists()
    with SearchIndex(folder, qwen3cpu.load(embedding, threads=1), path=index, dimensions=32) as opened:
        assert opened.update().unchanged == 2
        expected = opened.search("what is blue?", instruction="Find a colour")
    assert json.loads(done.stdout)["hits"] == [hit.to_dict() for hit in expected]
    done = search(embedding, folder, "what is blue?", "--index", index)
    assert done.returncode == 2
    assert "was made with another number of dimensions: expected 64, found 32; remove the file" in done.stderr


def test_a_reranker_and_a_chat_model(embedding, folder, tmp_path):
    write_scoring_model(tmp_path / "reranker", (3, 4), max_position_embeddings=2048)
    done = search(embedding, folder, "what is blue?", "--json", "--rerank", tmp_path / "reranker")
    assert (done.returncode, done.stderr) == (0, "")
    reranked = hits(embedding, folder, reranker=qwen3cpu.load(tmp_path / "reranker", threads=1))
    assert json.loads(done.stdout)["hits"] == [hit.to_dict() for hit in reranked]
    found = hits(embedding, folder)
    done = search(embedding, folder, "what is blue?", "--answer", "tiny")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("".join(f"[{number}] {hit.place}\n" for number, hit in enumerate(found, 1)))
    done = search(embedding, folder, "what is blue?", "--answer", "tiny", "--json")
    printed = json.loads(done.stdout)
    assert printed["hits"] == [hit.to_dict() for hit in found]
    assert isinstance(printed["answer"], str)
    assert answer_messages("what is blue?", found)[0]["content"].count("[1]") == 2


def test_files_that_are_left_out_are_named_on_stderr(embedding, folder):
    (folder / "latin.txt").write_bytes(b"gr\xf6\xdfe")
    done = search(embedding, folder, "what is blue?", "--json")
    assert done.returncode == 0
    assert done.stderr == "qwen3cpu: left out latin.txt: expected UTF-8, found byte 0xf6 at 2\n"
    assert len(json.loads(done.stdout)["hits"]) == 3


def test_an_empty_folder(embedding, tmp_path):
    (tmp_path / "folder").mkdir()
    done = search(embedding, tmp_path / "folder", "what is blue?")
    assert (done.returncode, done.stdout) == (0, "no passages: the folder has no text\n")


def test_wrong_input_is_named_in_one_line(embedding, folder, tmp_path):
    for arguments, message in (
        ((tmp_path / "none", "what?"), "expected a folder, found none"),
        ((folder / "sky.md", "what?"), "expected a folder, found a file"),
        ((folder, " "), "QUESTION: expected a text, found white space"),
        ((folder, "what?", "--top-n", "0"), "--top-n: expected a number of passages from 1 to 1000, found 0"),
        ((folder, "what?", "--rerank", "tiny"), "expected a model made for reranking"),
        ((folder, "what?", "--index", tmp_path / "none" / "index"), "cannot be opened"),
    ):
        done = search(embedding, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), message
        (line,) = done.stderr.splitlines()
        assert message in line
    done = run("search", folder, "what?", "-m", "tiny")
    assert done.returncode == 2
    assert "expected a model made for embedding" in done.stderr


def test_a_missing_library_names_its_command(embedding, folder, tmp_path):
    (tmp_path / "sqlite_vec.py").write_text("raise ImportError('none')")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = search(embedding, folder, "what?", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "qwen3cpu: error: search needs sqlite-vec: pip install 'qwen3cpu[search]'\n"


def test_ctrl_c_leaves_a_usable_index(embedding, folder):
    """The folder is so large that the signal comes between the first commit and the last."""
    for number in range(20_000):
        (folder / f"{number}.txt").write_text(f"number {number}")
    process = start("search", folder, "what is blue?", "-m", embedding, "-t", "1")
    model = qwen3cpu.load(embedding, threads=1)
    while not (folder / INDEX_NAME).exists():
        assert process.poll() is None
    with SearchIndex(folder, model) as index:
        while len(index) == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert process.returncode == 130
        assert errors == b""
        kept = len(index)
        assert 0 < kept < 20_003
        assert len(index.search("number")) == 5
