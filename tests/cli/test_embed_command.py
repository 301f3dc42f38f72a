"""`qwen3cpu embed`: rows are those of `Model.embed`, in order, in both kinds of files; no incomplete file stays."""

import os

import numpy as np
import pytest
from cli_runs import Terminal, environment, run, run_code, run_here
from retrieval_models import write_embedding_model

import qwen3cpu

TEXTS = ["the sky is blue", "", "hello world", "größe 世界"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("embed") / "model"
    write_embedding_model(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return qwen3cpu.load(folder, threads=1)


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes("\n".join(TEXTS).encode())
    return path


def embed(folder, *arguments, **more):
    return (run if more else run_here)("embed", *arguments, "-m", folder, "-t", "1", **more)


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ((), {}),
        (("--kind", "query"), {"kind": "query"}),
        (("--kind", "query", "--instruction", "Find it"), {"kind": "query", "instruction": "Find it"}),
        (("--dimensions", "20", "--dtype", "binary"), {"dimensions": 20, "dtype": "binary"}),
        (("--dtype", "int8"), {"dtype": "int8"}),
    ],
)
def test_lines_become_rows(folder, model, lines, tmp_path, flags, options):
    done = embed(folder, lines, "-o", tmp_path / "out.npy", *flags)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found, expected = np.load(tmp_path / "out.npy"), model.embed(TEXTS, **options)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert (found == expected).all()


def test_several_files_stdin_and_line_ends(folder, model, lines, tmp_path):
    other = tmp_path / "other.txt"
    other.write_bytes(b"\xef\xbb\xbfhello\r\nworld\r\n")
    done = embed(folder, other, "-", lines, "-o", tmp_path / "out.npy", stdin="sky\nblue\n")
    assert (done.returncode, done.stderr) == (0, "")
    expected = model.embed(["hello", "world", "sky", "blue", *TEXTS])
    assert (np.load(tmp_path / "out.npy") == expected).all()


def test_whole_files(folder, model, lines, tmp_path):
    done = embed(folder, lines, "-", "--whole", "-o", tmp_path / "out.npy", stdin="sky\nblue\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert (np.load(tmp_path / "out.npy") == model.embed(["\n".join(TEXTS), "sky\nblue\n"])).all()


def test_more_rows_than_a_window_holds_and_none(folder, model, tmp_path):
    texts = [f"number {number}" for number in range(700)]
    done = embed(folder, "-", "-o", tmp_path / "many.npy", "--dimensions", "8", stdin="\n".join(texts))
    assert (done.returncode, done.stderr) == (0, "")
    assert (np.load(tmp_path / "many.npy") == model.embed(texts, dimensions=8)).all()
    assert embed(folder, "-", "-o", tmp_path / "none.npy", stdin="").returncode == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 64)


@pytest.mark.parametrize("dtype", ["float32", "int8", "binary"])
def test_parquet_has_file_line_and_vector(folder, model, lines, tmp_path, dtype):
    parquet = pytest.importorskip("pyarrow.parquet")
    done = embed(folder, lines, "-", "-o", tmp_path / "out.parquet", "--dtype", dtype, stdin="sky\n")
    assert (done.returncode, done.stderr) == (0, "")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["file", "line", "embedding"]
    assert table["file"].to_pylist() == [str(lines)] * 4 + ["-"]
    assert table["line"].to_pylist() == [1, 2, 3, 4, 1]
    expected = model.embed([*TEXTS, "sky"], dtype=dtype)
    found = np.array(table["embedding"].to_pylist(), expected.dtype)
    assert (found == expected).all()


def test_wrong_input_leaves_no_file_and_is_named(folder, lines, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"good\nb\xe4d\n")
    (tmp_path / "long.txt").write_text("short\n" + "number " * 5000 + "\nshort\n")
    out = tmp_path / "out.npy"
    for arguments, message in (
        ((lines, "-o", tmp_path / "out.csv"), "expected a name that ends with .npy or .parquet, found .csv"),
        ((tmp_path / "none.txt", "-o", out), "none.txt: cannot be read: No such file or directory"),
        ((tmp_path, "-o", out), "cannot be read: Is a directory"),
        ((tmp_path / "bad.txt", "-o", out), "bad.txt:2: expected UTF-8, found byte 0xe4"),
        ((tmp_path / "long.txt", "-o", out), "long.txt:2: expected at most 511 tokens, found"),
        (("-", "-", "-o", out), "stdin was named more than once"),
        ((lines, "-o", out, "--instruction", "Find"), "instruction: expected none with kind='document'"),
        (
            (lines, "-o", out, "--dimensions", "65"),
            "dimensions: expected a number of dimensions from 1 to 64, found 65",
        ),
        ((lines, "-o", tmp_path / "none" / "out.npy"), "cannot be written: No such file or directory"),
    ):
        done = embed(folder, *arguments)
        assert done.returncode == 2, message
        (line,) = done.stderr.splitlines()
        assert message in line
    left = {path.name for path in tmp_path.iterdir()} - {"bad.txt", "long.txt", "lines.txt"}
    assert left == set()
    assert embed(folder, tmp_path / "long.txt", "-o", out, "--truncate").returncode == 0
    assert np.load(out).shape == (3, 64)


def test_an_existing_file_stays_until_all_is_written(folder, lines, tmp_path):
    out = tmp_path / "out.npy"
    np.save(out, np.zeros((2, 64)))
    before = out.read_bytes()
    assert embed(folder, tmp_path / "none.txt", "-o", out).returncode == 2
    assert out.read_bytes() == before
    assert embed(folder, lines, "-o", out).returncode == 0
    assert np.load(out).shape == (4, 64)


def test_another_model_is_refused_and_a_missing_library_named(lines, tmp_path):
    done = run("embed", lines, "-o", tmp_path / "out.npy", "-m", "tiny")
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a model made for embedding" in done.stderr
    (tmp_path / "pyarrow.py").write_text("raise ImportError('none')")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = run("embed", lines, "-o", tmp_path / "out.parquet", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Parquet needs pyarrow: pip install 'qwen3cpu[parquet]'" in done.stderr


def test_a_dumb_terminal_gets_no_bar(folder, lines, tmp_path):
    with Terminal("embed", lines, "-o", tmp_path / "out.npy", "-m", folder, "-t", "1", TERM="dumb") as terminal:
        screen, code = terminal.end()
    assert code == 0
    assert screen.startswith(f"{tmp_path}/out.npy: 4 vectors\r\n")


MEASURED = """
import sys
from qwen3cpu.cli.main import main
from qwen3cpu.system.process_limits import peak_memory
code = main()
print(peak_memory())
sys.exit(code)
"""


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_number_of_texts(folder, tmp_path):
    """The second run has 40 MB of lines more. A quarter of that would be seen."""
    peaks = []
    for count in (600, 20_600):
        with (tmp_path / "lines.txt").open("w") as file:
            file.writelines(f"{number} ".ljust(1999) + "\n" for number in range(count))
        arguments = ("-o", tmp_path / "out.npy", "-m", folder, "-t", "1", "-c", "8", "--truncate")
        done = run_code(MEASURED, "embed", tmp_path / "lines.txt", *arguments)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert np.load(tmp_path / "out.npy", mmap_mode="r").shape == (20_600, 64)
    assert peaks[1] - peaks[0] < 10_000_000
