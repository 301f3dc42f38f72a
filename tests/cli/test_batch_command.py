"""`qwen3cpu batch`: exit codes, messages on pipes and terminals, Ctrl-C."""

import json
import signal
import sys

import pytest
from batch_jobs import chat_line, mixed_lines
from cli_runs import Terminal, run, start

import qwen3cpu
from qwen3cpu.batch import run_file
from qwen3cpu.cli.main import main


@pytest.fixture
def write(tmp_path):
    def write(lines):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return path, tmp_path / "out.jsonl"

    return write


def batch(*arguments):
    return run("batch", *arguments, "-t", "1")


def test_all_lines_answered(write, tmp_path):
    source, output = write([chat_line("a", "hello", model="mine"), {"prompt": "hello"}])
    flags = ("-s", "9", "--options", '{"max_new_tokens": 3}', "--model-name", "mine", "--kv-memory", "1G")
    done = batch(source, output, *flags)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    other = tmp_path / "other.jsonl"
    run_file(qwen3cpu.load("tiny"), source, other, seed=9, model_name="mine", max_new_tokens=3)
    assert output.read_bytes() == other.read_bytes()
    again = batch(source, output, *flags)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_lines_with_errors_make_the_exit_code_1(write):
    source, output = write([{"prompt": "hello", "max_tokens": 2}, {}, {"prompt": 5}])
    for _ in range(2):
        done = batch(source, output)
        assert done.returncode == 1
        assert done.stderr == f"qwen3cpu: {output}: 2 of 3 lines have errors; the first is line 2\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--options", "[]"), "--options"),
        (
            ("--options", '{"seed": 4}'),
            "--options: expected options of a line, found 'seed', which is for the whole job",
        ),
        (("--options", '{"max_new_tokenz": 4}'), "did you mean 'max_new_tokens'"),
        (("--kv-memory", "much"), "--kv-memory: expected a size"),
        (("--kv-memory", "1K"), "KV memory: a context of 4096 positions needs"),
    ],
)
def test_wrong_flags(write, flags, message):
    source, output = write([{"prompt": "hello"}])
    done = batch(source, output, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert not output.exists()


def test_another_job_needs_restart(write):
    source, output = write([{"prompt": "hello", "max_tokens": 2}])
    assert batch(source, output).returncode == 0
    refused = batch(source, output, "--seed", "1")
    assert refused.returncode == 2
    assert "--restart" in refused.stderr
    assert batch(source, output, "--seed", "1", "--restart").returncode == 0


def test_ctrl_c_says_how_to_go_on(write, tmp_path):
    lines = mixed_lines(400)
    source, output = write(lines)
    journal = tmp_path / "out.jsonl.part"
    process = start("batch", source, output, "-t", "1")
    while not journal.exists() or journal.stat().st_size < 10_000:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == b""
    assert err.decode() == f"qwen3cpu: stopped; run the same command again to go on ({journal} has what is answered)\n"
    assert not output.exists()
    assert batch(source, output).returncode == 1
    run_file(qwen3cpu.load("tiny"), source, tmp_path / "undisturbed.jsonl")
    assert output.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()


def test_a_terminal_shows_progress(write):
    source, output = write([{"prompt": f"{number}", "max_tokens": 30} for number in range(300)])
    with Terminal("batch", source, output, "-t", "1") as terminal:
        terminal.wait_for("answering")
        terminal.wait_for("/300")
        terminal.wait_for("lines")
        terminal.wait_for(": 300 lines answered")
        assert terminal.process.wait() == 0


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "qwen3cpu.batch", None)
    assert main(["batch", "in.jsonl", "out.jsonl"]) == 2
    assert "pip install 'qwen3cpu[server]'" in capsys.readouterr().err
