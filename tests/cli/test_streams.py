"""Standard streams that are closed or full: one line on stderr and exit code 2, never a traceback."""

import shlex
import subprocess
import sys

import pytest
from cli_runs import environment

COMMANDS = {
    "generate": "-m qwen3cpu generate hello -n 3 --thinking off",
    "chat": "-m qwen3cpu chat -n 3 --thinking off",
    "inspect": "-m qwen3cpu inspect tiny",
    "plan": "-m qwen3cpu plan tiny",
    "doctor": "-m qwen3cpu doctor",
    "cache": "-m qwen3cpu cache list",
    "help": "-m qwen3cpu --help",
    "version": "-m qwen3cpu --version",
    "help of a command": "-m qwen3cpu generate --help",
    "bench": "-c 'import sys; from qwen3cpu.bench import main; sys.exit(main())' -m tiny -p 4 -n 2",
}


def shell(arguments, redirections, stdin=b"hello\n"):
    command = f"exec {shlex.quote(sys.executable)} {arguments} {redirections}"
    return subprocess.run(["/bin/sh", "-c", command], input=stdin, capture_output=True, env=environment())


def one_line(done):
    assert done.returncode == 2, (done.returncode, done.stderr)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(("qwen3cpu: error: ", "qwen3cpu-bench: error: "))
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_stdout_is_full(command):
    assert "No space left on device" in one_line(shell(COMMANDS[command], "> /dev/full"))


@pytest.mark.parametrize("command", ["generate", "plan", "help", "bench"])
def test_stdout_is_closed(command):
    assert "stdout is closed" in one_line(shell(COMMANDS[command], ">&-"))


def test_a_server_without_stdout():
    pytest.importorskip("uvicorn")
    assert "stdout is closed" in one_line(shell("-m qwen3cpu serve --port 0", ">&-"))


def test_stdin_is_closed():
    assert "stdin is closed" in one_line(shell("-m qwen3cpu generate -n 3", "<&-"))
    assert "stdin is closed" in one_line(shell("-m qwen3cpu chat -n 3", "<&-"))
    # Nobody reads it here.
    done = shell(COMMANDS["generate"] + " -s 1", "<&-")
    assert done.returncode == 0
    assert done.stdout == shell(COMMANDS["generate"] + " -s 1", "").stdout


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_stderr_takes_nothing(redirection):
    done = shell(COMMANDS["generate"] + " -s 1", redirection)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == shell(COMMANDS["generate"] + " -s 1", "").stdout
    done = shell("-m qwen3cpu generate hello --model /nowhere", redirection)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_all_streams_are_closed():
    done = shell(COMMANDS["generate"], "<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path):
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    plain.write_bytes(b"What is 17 + 25?\nWhat is 2 + 2?\n")
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    common = "--thinking off -n 12 -s 1"
    for arguments in (
        f"-m qwen3cpu generate {common} --file ",
        f"-m qwen3cpu generate {common} < ",
        f"-m qwen3cpu chat {common} < ",
    ):
        one, other = (shell(arguments + shlex.quote(str(path)), "") for path in (plain, marked))
        assert one.returncode == other.returncode == 0
        assert one.stdout == other.stdout != b""


def test_a_prompt_without_end():
    done = shell("-m qwen3cpu generate --file /dev/zero", "")
    assert "expected a text of at most" in one_line(done)
