"""The index follows new, changed, moved and deleted files, skips others, and survives interruptions."""

import os
import shutil
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run_code
from small_pdf import pdf

import qwen3cpu
from qwen3cpu.errors import ArgumentError, SearchIndexError
from qwen3cpu.search import INDEX_NAME, SearchIndex
from qwen3cpu.search import files as search_files
from qwen3cpu.search import index as search_index
from qwen3cpu.search.passages import passages

pytest.importorskip("sqlite_vec")

TEXTS = {
    "sky.txt": "the sky is blue\n\nhello world\n",
    "notes/number.md": "# number\n\nnumber hello\n\n# world\n\nworld world\n",
    "code/run.py": "def run():\n    return 1\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in TEXTS.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "folder"


@pytest.fixture
def index(folder, model):
    with SearchIndex(folder, model) as index:
        yield index


def change(path, text):
    """Write a text with a new modification time."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def counts(update):
    return (update.added, update.changed, update.removed, update.unchanged, update.passages)


def everything(index):
    """Return (file, line, text, score) of all passages, by searching."""
    return [(hit.file, hit.line, hit.text, hit.score) for hit in index.search("the sky", top_n=1000)]


def test_all_passages_are_found_with_the_cosines_of_their_vectors(index, model, folder):
    assert counts(index.update()) == (3, 0, 0, 0, 4)
    assert len(index) == 4
    expected = []
    query = model.embed("the sky", kind="query").astype(np.float64)
    for name, text in TEXTS.items():
        for passage in passages(text, markdown=name.endswith(".md")):
            vector = model.embed(passage.text).astype(np.float64)
            expected.append((name, passage.line, passage.text, float(query @ vector)))
    expected.sort(key=lambda each: -each[3])
    found = everything(index)
    assert [each[:3] for each in found] == [each[:3] for each in expected]
    assert np.allclose([each[3] for each in found], [each[3] for each in expected], rtol=0, atol=1e-12)
    assert (folder / INDEX_NAME).is_file()


def test_only_changed_files_are_embedded_again(index, folder, monkeypatch):
    index.update()
    before = everything(index)
    read = []
    monkeypatch.setattr(search_index, "read", lambda found: read.append(found.name) or search_files.read(found))
    assert counts(index.update()) == (0, 0, 0, 3, 0)
    assert read == []
    os.utime(folder / "sky.txt", ns=(1, 1))  # the same bytes
    assert counts(index.update()) == (0, 0, 0, 3, 0)
    assert counts(index.update()) == (0, 0, 0, 3, 0)
    assert read == ["sky.txt"]
    assert everything(index) == before
    change(folder / "sky.txt", "blue blue\n")
    (folder / "new.txt").write_text("a new file\n")
    (folder / "code" / "run.py").unlink()
    assert counts(index.update()) == (1, 1, 1, 1, 2)
    assert {each[2] for each in everything(index)} >= {"blue blue", "a new file"}
    assert not any(each[0] == "code/run.py" or "hello world" in each[2] for each in everything(index))


def test_an_index_that_was_updated_equals_one_that_is_made_anew(index, folder, model, tmp_path):
    index.update()
    change(folder / "sky.txt", "blue blue\n")
    (folder / "notes" / "number.md").rename(folder / "moved.md")
    index.update()
    with SearchIndex(folder, model, path=tmp_path / "anew") as anew:
        anew.update()
        assert everything(anew) == everything(index)


def test_hidden_and_binary_files_are_left_out_and_unreadable_ones_are_named(index, folder):
    for name, data in {
        ".hidden": b"secret",
        ".git/config": b"secret",
        "image.png": b"\x89PNG\r\n\x1a\n\0\0secret",
        "empty.txt": b"",
        "latin.txt": "größe".encode("latin-1"),
        "broken.pdf": b"%PDF-1.7 secret",
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_bytes(b"secret")
    (folder / "link").symlink_to(folder / "notes")
    (folder / "nowhere").symlink_to(folder / "missing")
    os.mkfifo(folder / "fifo")
    update = index.update()
    assert (update.added, update.passages) == (5, 4)  # the binary and the empty file are recorded
    reasons = {each.file: each.reason for each in update.skipped}
    assert set(reasons) == {"broken.pdf", "latin.txt", r"caf\xe9.txt"}
    assert reasons[r"caf\xe9.txt"] == "expected a name in UTF-8"
    assert reasons["latin.txt"] == "expected UTF-8, found byte 0xf6 at 2"
    assert reasons["broken.pdf"].startswith("pypdf cannot read it: ")
    assert not any("secret" in each[2] for each in everything(index))
    assert index.update().unchanged == 5


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(index, folder):
    (folder / "sky.txt").chmod(0)
    assert [(each.file, each.reason) for each in index.update().skipped] == [("sky.txt", "Permission denied")]


def test_a_file_that_is_no_longer_readable_leaves(index, folder, monkeypatch):
    index.update()
    monkeypatch.setattr(search_files, "LARGEST", 20)
    change(folder / "sky.txt", "number " * 10)
    update = index.update()
    assert [(each.file, each.reason) for each in update.skipped] == [("sky.txt", "expected at most 20 bytes, found 70")]
    assert not any(each[0] == "sky.txt" for each in everything(index))


def test_pdf_pages_are_passages(index, folder):
    pytest.importorskip("pypdf")
    (folder / "paper.pdf").write_bytes(pdf(["the first page", "", "hello blue world"]))
    assert index.update().skipped == []
    hits = {hit.page: hit for hit in index.search("blue", top_n=100) if hit.file == "paper.pdf"}
    assert {page: hit.text for page, hit in hits.items()} == {1: "the first page", 3: "hello blue world"}
    assert hits[3].place == "paper.pdf: page 3"


def test_a_missing_pypdf_names_its_command(index, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    (folder / "paper.pdf").write_bytes(pdf(["page"]))
    (skipped,) = index.update().skipped
    assert skipped.reason == "a PDF needs pypdf: pip install 'qwen3cpu[search]'"


def test_what_stops_an_update_leaves_a_usable_index_and_the_next_goes_on(index, folder, monkeypatch):
    from qwen3cpu.retrieval import passes

    for number in range(30):
        (folder / f"{number:02}.txt").write_text(f"number {number}\n\n" + "hello " * 300)
    monkeypatch.setattr(passes, "WINDOW", 7)

    def stop_at(found):
        if found.name == "20.txt":
            raise KeyboardInterrupt
        return search_files.read(found)

    monkeypatch.setattr(search_index, "read", stop_at)
    with pytest.raises(KeyboardInterrupt):
        index.update()
    kept = len(index)
    assert kept > 0
    assert kept % 7 == 0
    assert len(everything(index)) == kept
    monkeypatch.setattr(search_index, "read", search_files.read)
    done = index.update()
    assert done.unchanged > 0
    assert done.passages < len(index)
    with SearchIndex(folder, index._model, path=folder.parent / "anew") as anew:
        anew.update()
        assert everything(anew) == everything(index)


def test_a_killed_process_leaves_a_usable_index(index, folder, embedding_folder):
    for number in range(2000):
        (folder / f"{number}.txt").write_text(f"number {number}")
    code = (
        "import sys, os, signal, qwen3cpu; from qwen3cpu.search import SearchIndex, store\n"
        "kept = store.Store.complete\n"
        "def complete(self, *rest):\n"
        "    kept(self, *rest)\n"
        "    if self.passage_count() > 600: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.Store.complete = complete\n"
        "SearchIndex(sys.argv[1], qwen3cpu.load(sys.argv[2], quant='q8', threads=1)).update()\n"
    )
    done = run_code(code, folder, embedding_folder)
    assert done.returncode == -9
    assert len(index) == 512
    assert len(index.search("number", top_n=3)) == 3
    update = index.update()
    assert update.added + update.unchanged + update.changed == 2003
    assert len(index) == 2004


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimensions": 32}, "was made with another number of dimensions: expected 32, found 64; remove the file"),
        ({"quant": "q4"}, "was made with another weight format: expected q4, found q8"),
        ({"kv": "f32"}, "was made with another KV format: expected f32, found f16"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}},
            "another RoPE",
        ),
    ],
)
def test_an_index_of_another_kind_is_refused_by_name(index, folder, embedding_folder, changes, message):
    index.update()
    dimensions = changes.pop("dimensions", None)
    other = qwen3cpu.load(embedding_folder, **{"quant": "q8", "threads": 1, **changes})
    with pytest.raises(SearchIndexError, match=f"{INDEX_NAME}: .*{message}"):
        SearchIndex(folder, other, dimensions=dimensions)
    with SearchIndex(folder, other, dimensions=dimensions, path=folder / ".other") as own:
        own.update()
        assert len(own) == 4


def test_an_index_of_another_model_or_version_is_refused_by_name(index, folder, model, tmp_path, monkeypatch):
    from retrieval_models import write_embedding_model

    index.update()
    write_embedding_model(tmp_path / "wider", hidden_size=128)
    with pytest.raises(SearchIndexError, match=r"was made with another model: expected .*, found .*; remove the file"):
        SearchIndex(folder, qwen3cpu.load(tmp_path / "wider", quant="q8", threads=1))
    monkeypatch.setattr("qwen3cpu.search.store.VERSION", "0")
    with pytest.raises(SearchIndexError, match="was made with another version: expected 0, found 2"):
        SearchIndex(folder, model)


def test_other_files_in_the_place_of_an_index_are_refused_and_kept(folder, model, tmp_path):
    text = tmp_path / "text"
    text.write_text("not an index, but a text of some length")
    with pytest.raises(SearchIndexError, match="expected a search index, found another kind of file"):
        SearchIndex(folder, model, path=text)
    assert text.read_text().startswith("not an index")
    other = tmp_path / "other"
    with sqlite3.connect(other) as database:
        database.execute("create table mine (x)")
    database.close()
    with pytest.raises(SearchIndexError, match="expected a search index, found another SQLite database"):
        SearchIndex(folder, model, path=other)
    with pytest.raises(SearchIndexError, match="expected a file for the index, found something else"):
        SearchIndex(folder, model, path=tmp_path)
    with pytest.raises(SearchIndexError, match="cannot be opened"):
        SearchIndex(folder, model, path=tmp_path / "missing" / "index")


def test_a_damaged_index_is_refused_by_name(folder, model):
    with SearchIndex(folder, model) as index:
        index.update()
    path = folder / INDEX_NAME
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(SearchIndexError, match=r"cannot be read or written: .*remove the file"):
        SearchIndex(folder, model)


@pytest.mark.parametrize(
    "damage",
    [
        "update passages set text = x'ff00'",
        "update passages set text = cast(x'ff' as text)",
        "update passages set file = 99",
        "update files set digest = 1000000000000",
        "update files set name = x'ff' where id = 1",
        "delete from passages",
        "update passages set line = 'one'",
    ],
)
def test_damaged_rows_are_refused_by_name(folder, model, damage):
    with SearchIndex(folder, model) as index:
        index.update()
    database = sqlite3.connect(folder / INDEX_NAME)
    with database:
        database.execute(damage)
    database.close()
    with SearchIndex(folder, model) as index:
        call = index.update if "files" in damage else lambda: index.search("a")
        with pytest.raises(SearchIndexError, match=f"{INDEX_NAME}: cannot be read"):
            call()


def test_a_closed_index_says_so(folder, model):
    index = SearchIndex(folder, model)
    index.close()
    index.close()
    for call in (index.update, lambda: index.search("a"), lambda: len(index)):
        with pytest.raises(SearchIndexError, match="expected an open index, found a closed one"):
            call()


def test_threads_may_share_an_index(folder, model):
    """Updates come one after the other, and searches go on meanwhile."""
    with SearchIndex(folder, model) as index, ThreadPoolExecutor(4) as pool:
        updates = [pool.submit(index.update) for _ in range(3)]
        searches = [pool.submit(index.search, "number") for _ in range(8)]
        assert sum(update.result().added for update in updates) == 3
        assert all(len(search.result()) <= 4 for search in searches)
        assert len(index.search("number")) == len(index) == 4


def test_an_index_in_the_folder_is_not_searched_itself(folder, model):
    (folder / "visible.index.txt").write_text("A file with a longer name is searched.")
    with SearchIndex(folder, model, path=folder / "visible.index") as index:
        assert index.update().added == 4
        assert index.update().unchanged == 4


def test_two_processes_may_use_an_index(index, folder, model):
    with SearchIndex(folder, model) as other:
        index.update()
        assert counts(other.update()) == (0, 0, 0, 3, 0)
        (folder / "new.txt").write_text("new")
        other.update()
        assert len(index) == 5
        assert everything(index) == everything(other)


def test_a_copied_folder_keeps_its_index(index, folder, model, tmp_path):
    index.update()
    shutil.copytree(folder, tmp_path / "copy")
    with SearchIndex(tmp_path / "copy", model) as copy:
        assert counts(copy.update()) == (0, 0, 0, 3, 0)


@pytest.mark.parametrize(
    ("question", "options", "message"),
    [
        (3, {}, "question: expected a str, found int"),
        (" \n", {}, "question: expected a text, found white space"),
        ("sky", {"top_n": 0}, "top_n: expected a number of passages from 1 to 1000, found 0"),
        ("sky", {"instruction": 3}, "instruction: expected a str, found int"),
    ],
)
def test_wrong_arguments_are_named(index, question, options, message):
    index.update()
    with pytest.raises(ArgumentError, match=message):
        index.search(question, **options)


def test_wrong_folders_and_models_are_named(folder, model, tmp_path):
    with pytest.raises(ArgumentError, match="expected a folder, found none"):
        SearchIndex(tmp_path / "none", model)
    with pytest.raises(ArgumentError, match="expected a folder, found a file"):
        SearchIndex(folder / "sky.txt", model)
    with pytest.raises(ArgumentError, match="expected a model made for embedding"):
        SearchIndex(folder, qwen3cpu.load("tiny", threads=1))
    with SearchIndex(folder, model) as index:
        index.update()
        with pytest.raises(ArgumentError, match="expected a model made for reranking"):
            index.search("sky", reranker=model)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("sqlite_vec", r"search needs sqlite-vec: pip install 'qwen3cpu\[search\]'"), ("both", "pip install pysqlite3")],
)
def test_missing_libraries_name_their_commands(folder, model, monkeypatch, missing, message):
    from qwen3cpu.search import database

    if missing == "both":

        class Plain:
            Connection = object

        monkeypatch.setattr(database, "sqlite3", Plain)
        monkeypatch.setitem(sys.modules, "pysqlite3", None)
        monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", None)
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ArgumentError, match=message):
        SearchIndex(folder, model)
