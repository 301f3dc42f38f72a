"""Arguments that are refused: one line that names what was typed, before a model is loaded."""

import json

import pytest
from cli_runs import Terminal, run, run_here

from qwen3cpu.cli import options

HALF = "\udcff"
"""What Python makes of the byte 0xff in an argument."""
ABSENT = "/no/such/model"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("the sky is blue\n")
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "Q", "--drafts-from", "~nosuch/x"], "--drafts-from: expected a path"),
        (["search", "~nosuch/x", "q"], "FOLDER: expected a path"),
        (["search", ".", "q", "--index", "~nosuch/x"], "--index: expected a path"),
        (["drafts", "t.txt", "-o", "~nosuch/x"], "--output: expected a path"),
        (["plan", "~nosuch/x"], "MODEL: expected a path"),
        (["eval", "~nosuch/x", "--text", "t.txt"], "MODEL: expected a path"),
        (["eval", "tiny", "--text", "t.txt", "-o", "~nosuch/x"], "--output: expected a path"),
        (["chat", "--mcp", "~nosuch/x"], "--mcp: expected a path"),
        (["batch", "in.jsonl", "o", "--options", f'{{"system":"{HALF}"}}'], "--options: expected Unicode text"),
        (["generate", "Q", "--rope-scaling", f'{{"a":"{HALF}"}}'], "--rope-scaling: expected Unicode text"),
        (["generate", "Q", "--stop", HALF], "--stop: expected Unicode text"),
        (["generate", HALF], "PROMPT: expected Unicode text"),
        (["generate", "Q", "--system", HALF], "--system: expected Unicode text"),
        (["batch", "in.jsonl", "o", "--kv-memory", "9" * 400], "--kv-memory: expected a size of at most 4194304T"),
        (["merge", "tiny", "t.txt", "t.txt"], "OUT: expected a folder that does not exist yet"),
        (["quantize", "tiny", "t.txt"], "OUT: expected no file or a packed one"),
        (["plan", "tiny", "-c", "9" * 5000], "--context: expected positions from 1 to"),
        (["batch", "in.jsonl", "o", "--model-name", ""], "--model-name: expected a name"),
        (["eval", "tiny", "--text", "t.txt", "--quant", ""], "--quant: expected one of"),
        (["generate", "Q", "--choices", ""], "--choices: expected answers, found an empty one"),
        (["generate", "Q", "--choices", "yes,"], "--choices: expected answers, found an empty one"),
        (["generate", "Q", "--choice", ""], "--choice: expected answers, found an empty one"),
        (["generate", "Q", "--raw", "--thinking", "on"], "--raw uses the prompt without the chat template"),
        (["embed", "t.txt", "-o", "v.npy", "-m", "tiny"], "expected a model made for embedding, found one made for"),
    ],
)
def test_one_line_names_what_was_typed(here, words, message):
    done = run_here(*words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert "load(" not in line
    assert {path.name for path in here.iterdir()} <= {"t.txt", "in.jsonl"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "Q", "--temp", "nan"], "--temp must be "),
        (["generate", "Q", "--top-p", "2"], "--top-p must be "),
        (["generate", "Q", "-n", "0"], "-n: "),
        (["chat", "--deadline", "nan"], "--deadline: "),
        (["generate", "Q", "--repeat-penalty", "0"], "--repeat-penalty must be "),
        (["eval", ABSENT, "--text", "t.txt", "-o", "/nope/x.json"], "--output: /nope/x.json cannot be written"),
        (["search", ".", " "], "QUESTION: "),
        (["search", ".", "q", "--top-n", "0"], "--top-n: "),
        (["search", ".", "q", "--rerank", ABSENT], "--rerank: "),
        (["search", ".", "q", "--answer", ABSENT], "--answer: "),
    ],
)
def test_values_are_checked_before_a_model_is_loaded(here, words, message, monkeypatch):
    def load(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(options, "load", load)
    done = run_here(*words)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith(f"qwen3cpu: error: {message}")) == (2, True)


def test_a_size_of_windows_is_named(here):
    (here / "t.txt").write_text("the sky is blue\n" * 100)
    done = run_here("eval", "tiny", "--text", "t.txt", "--window", "1")
    assert done.stderr == "qwen3cpu: error: --window: expected an even number of tokens from 4, found 1\n"


def test_a_misspelt_command_on_a_pipe_is_an_error():
    done = run("chat", "-n", "3", stdin="/thinkk on\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "qwen3cpu: error: unknown command /thinkk; did you mean /think?\n"


def test_json_in_another_encoding_is_escaped():
    pytest.importorskip("llguidance")
    done = run(
        "generate", "Q", "--regex", "世界é", "--thinking", "off", "--json", stdin=b"", PYTHONIOENCODING="latin-1"
    )
    assert json.loads(done.stdout)["text"] == "世界é"


def test_a_name_of_a_file_cannot_steer_the_terminal(here):
    (here / "\x1b[31mbad").mkdir()
    with Terminal("embed", "\x1b[31mbad", "-o", "v.npy", NO_COLOR="1") as terminal:
        screen, code = terminal.end()
    assert code == 2
    assert "�[31mbad: cannot be read" in screen
    assert "\x1b[31m" not in screen
