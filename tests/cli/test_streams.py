"""Standard streams that are closed or full: one line on stderr and exit code 2, never a traceback."""

import shlex
import subprocess
import sys

import pytest
from cli_runs import environment, run

GREETING = ["generate", "hello", "-n", "3", "--thinking", "off"]
COMMANDS = {
    "generate": GREETING,
    "chat": ["chat", "-n", "3", "--thinking", "off"],
    "inspect": ["inspect", "tiny"],
    "plan": ["plan", "tiny"],
    "doctor": ["doctor"],
    "cache": ["cache", "list"],
    "help": ["--help"],
    "version": ["--version"],
    "help of a command": ["generate", "--help"],
}
BENCH = "-c 'import sys; from qwen3cpu.bench import main; sys.exit(main())' -m tiny -p 4 -n 2 -r 1"


def shell(arguments, redirections, stdin=b"hello\n"):
    """Run a new interpreter whose streams are closed or full from the start."""
    if not isinstance(arguments, str):
        arguments = shlex.join(["-m", "qwen3cpu", *arguments])
    command = f"exec {shlex.quote(sys.executable)} {arguments} {redirections}"
    return subprocess.run(["/bin/sh", "-c", command], input=stdin, capture_output=True, env=environment())


def one_line(done):
    assert done.returncode == 2, (done.returncode, done.stderr)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(("qwen3cpu: error: ", "qwen3cpu-bench: error: "))
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_stdout_is_full(command):
    assert "No space left on device" in one_line(run(*COMMANDS[command], stdin=b"hello\n", out="/dev/full"))


def test_stdout_of_the_benchmark_is_full():
    assert "No space left on device" in one_line(shell(BENCH, "> /dev/full"))


@pytest.mark.parametrize("command", [GREETING, ["plan", "tiny"], ["--help"], BENCH], ids=lambda command: command[0])
def test_stdout_is_closed(command):
    assert "stdout is closed" in one_line(shell(command, ">&-"))


def test_a_server_without_stdout():
    pytest.importorskip("uvicorn")
    assert "stdout is closed" in one_line(shell(["serve", "--port", "0"], ">&-"))


def test_stdin_is_closed():
    assert "stdin is closed" in one_line(shell(["generate", "-n", "3"], "<&-"))
    assert "stdin is closed" in one_line(shell(["chat", "-n", "3"], "<&-"))
    # stdin is not read here.
    done = shell([*GREETING, "-s", "1"], "<&-")
    assert done.returncode == 0
    assert done.stdout == run(*GREETING, "-s", "1", stdin=b"").stdout


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_stderr_takes_nothing(redirection):
    done = shell([*GREETING, "-s", "1"], redirection)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == run(*GREETING, "-s", "1", stdin=b"").stdout
    done = shell(["generate", "hello", "--model", "/nowhere"], redirection)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_all_streams_are_closed():
    done = shell(GREETING, "<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path):
    text = b"What is 17 + 25?\nWhat is 2 + 2?\n"
    common = "--thinking", "off", "-n", "12", "-s", "1"

    def from_file(text):
        (tmp_path / "prompt").write_bytes(text)
        return run("generate", *common, "--file", tmp_path / "prompt", stdin=b"")

    for ask in (
        from_file,
        lambda text: run("generate", *common, stdin=text),
        lambda text: run("chat", *common, stdin=text),
    ):
        one, other = ask(text), ask(b"\xef\xbb\xbf" + text)
        assert one.returncode == other.returncode == 0
        assert one.stdout == other.stdout != b""


def test_a_prompt_without_end():
    assert "expected a text of at most" in one_line(run("generate", "--file", "/dev/zero", stdin=b""))
