"""Running the command line in a process of its own, on pipes or on a terminal."""

import contextlib
import functools
import io
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

from warm_process import WarmProcess

ROOT = Path(__file__).parents[2]


def environment(**changes):
    """The environment of a run: this process's, with the path of the tested package, and without colours."""
    import qwen3cpu

    package = str(Path(qwen3cpu.__file__).parents[1])
    settings = {"PYTHONPATH": package, "PYTHONUTF8": "1", "TERM": "xterm"}
    settings["PROMPT_TOOLKIT_NO_CPR"] = "1"  # the terminals of tests do not report the place of their cursor
    return {**os.environ, **settings, **changes}


@functools.cache
def _warm_process():
    return WarmProcess(environment())


def is_warm(variables):
    """Whether a process with these variables may be a fork of a process that has imported the package."""
    return hasattr(os, "pidfd_open") and _warm_process().serves(variables)


def run(*arguments, stdin="", out=None, **changes):
    """Run a command to its end, with text streams, or byte streams if stdin is bytes. out: a file for stdout."""
    return run_process(["-m", "qwen3cpu", *arguments], environment(**changes), stdin, out)


def run_code(code, *arguments, **changes):
    """The same with Python code, which finds the arguments in sys.argv[1:]."""
    return run_process(["-c", code, *map(str, arguments)], environment(**changes))


def run_process(arguments, variables, stdin="", out=None):
    """The same with the arguments of Python and all variables."""
    in_text = isinstance(stdin, str)
    arguments = [os.fsdecode(argument) for argument in arguments]
    with open(out, "wb") if out else contextlib.nullcontext() as file:
        stdout = subprocess.PIPE if file is None else file.fileno()
        process = start_process(arguments, variables, stdout=stdout)
        streams = process.communicate(stdin.encode() if in_text else stdin)
    return subprocess.CompletedProcess(
        arguments, process.returncode, *(text.decode() if in_text and text is not None else text for text in streams)
    )


def start(*arguments):
    """Start a command with pipes as standard streams, in bytes."""
    return start_process(["-m", "qwen3cpu", *map(os.fspath, arguments)], environment())


def start_process(arguments, variables, **streams):
    """Start Python with these arguments, as a fork if possible. streams: pipes by default."""
    if is_warm(variables):
        return _warm_process().popen(arguments, variables, **streams)
    streams = {name: streams.get(name, subprocess.PIPE) for name in ("stdin", "stdout", "stderr")}
    return subprocess.Popen([sys.executable, *arguments], env=variables, **streams)


def run_here(*arguments):
    """Run a command in this process, if it needs no own one. An import takes longer than a refusal."""
    from qwen3cpu.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([*map(os.fspath, arguments)])
        except SystemExit as end:  # argparse
            code = end.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class Terminal:
    """A run on a terminal of its own, with typed text and keys, and the contents of the screen.

    code: Python that runs instead of the command line, with the arguments in sys.argv[1:].
    """

    # Ctrl-C reaches a process only through its controlling terminal, which the new session takes first.
    TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"

    def __init__(self, *arguments, code=None, **changes):
        self._screen, inside = pty.openpty()
        begin = ["-m", "qwen3cpu"] if code is None else ["-c", code]
        arguments, variables = [*begin, *map(os.fspath, arguments)], environment(**changes)
        if is_warm(variables):
            self.process = _warm_process().start(arguments, variables, [inside] * 3, terminal=True)
        else:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.TAKE, sys.executable, *arguments],
                stdin=inside,
                stdout=inside,
                stderr=inside,
                start_new_session=True,
                env=variables,
            )
        os.close(inside)
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._screen)

    def type(self, text):
        os.write(self._screen, text.encode())

    def wait_for(self, text):
        """Read until `text` is shown. Returns everything up to its end, and drops it."""
        while text not in self.shown:
            self.shown += self._read() or self._fail(text)
        seen, _, self.shown = self.shown.partition(text)
        return seen + text

    def wait_for_prompt(self, prompt="> "):
        """Read until the prompt is shown and the process sleeps.

        Python's input() misses a Ctrl-C or Ctrl-D that comes after it shows the prompt and before it waits. In between
        it may also sleep for a moment, for a thread of its own. So only a longer sleep is the wait for a line.
        """
        seen = self.wait_for(prompt)
        asleep = 0
        while asleep < 10:
            asleep = asleep + 1 if self._state().startswith("S") else 0
            time.sleep(0.01)
        return seen

    def _state(self):
        status = Path(f"/proc/{self.process.pid}/stat")
        if status.exists():
            return status.read_text().rpartition(") ")[2]
        command = ["ps", "-o", "state=", "-p", str(self.process.pid)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def end(self):
        """Read until the process ends: (the rest of the screen, exit code)."""
        while piece := self._read():
            self.shown += piece
        return self.shown, self.process.wait()

    def _read(self):
        try:
            return os.read(self._screen, 65536).decode(errors="replace")
        except OSError:  # Linux reports the end of a terminal as an error
            return ""

    def _fail(self, text):
        raise AssertionError(f"ended before showing {text!r}; showed {self.shown!r}")
