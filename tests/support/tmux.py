"""Runs a command on a terminal that tmux emulates: types and pastes text, and reads the visible rows."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runs import environment

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


class Tmux:
    """A terminal of a given size, in which Python runs with some arguments.

    Args:
        folder: an empty one for the socket.
        arguments: of Python.
        columns, lines: of the terminal.
        variables: of the environment, besides this process's.
    """

    def __init__(self, folder: Path, *arguments: object, columns: int = 80, lines: int = 24, **variables: str) -> None:
        self._tmux = ["tmux", "-S", os.fspath(folder / "tmux"), "-f", os.devnull]
        state = {"XDG_STATE_HOME": os.fspath(folder / "state"), "LC_ALL": "C.UTF-8"}
        given = environment(**{**state, **variables})
        given.pop("TERM")
        given.pop("TMUX", None)
        size = ["-x", str(columns), "-y", str(lines)]
        self._status = folder / "status"
        # tmux 3.3 sometimes misses the end of a process, so a shell, which ignores Ctrl-C, notes the exit status.
        shell = ["sh", "-c", 'trap : INT; "$@"; echo $? > "$0.part"; mv "$0.part" "$0"', os.fspath(self._status)]
        command = [*shell, sys.executable, *map(str, arguments)]
        # The last window stays after the end of its command, so that its output can be read.
        options = ["set", "-g", "remain-on-exit", "on", ";", "set", "-g", "history-limit", "50000", ";"]
        subprocess.run([*self._tmux, *options, "new-session", "-d", *size, *command], env=given, check=True)

    def __enter__(self) -> "Tmux":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("kill-server")

    def type(self, *keys: str) -> None:
        """Press keys: texts, or names such as Enter, C-c, M-Enter, Tab."""
        self._run("send-keys", *keys)

    def paste(self, text: str) -> None:
        """Paste a text like a terminal: between marks, if the program has asked for them."""
        self._run("set-buffer", text)
        self._run("paste-buffer", "-p", "-r")

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def rows(self, *, colours: bool = False) -> list[str]:
        """All written rows: those that have scrolled away and the screen, without empty rows at the end."""
        flags = ["-e"] if colours else []
        return self._run("capture-pane", "-p", "-S", "-", *flags).rstrip("\n").split("\n")

    def wait_for(self, text: str, times: int = 1) -> list[str]:
        """The rows as soon as they have a text `times` times."""
        return self.wait_until(lambda rows: "\n".join(rows).count(text) >= times)

    def wait_until(self, check: Callable[[list[str]], bool]) -> list[str]:
        """The rows as soon as they pass a check."""
        while True:
            rows = self.rows()
            if check(rows):
                return rows
            if self.ended:
                raise AssertionError(f"ended with other rows: {rows}")
            time.sleep(0.02)

    @property
    def ended(self) -> bool:
        """Whether the command has ended."""
        return self._status.exists()

    @property
    def status(self) -> int:
        """The exit status of the command; waits for its end."""
        while not self.ended:
            time.sleep(0.02)
        return int(self._status.read_text())

    def _run(self, *command: str) -> str:
        done = subprocess.run([*self._tmux, *command], capture_output=True, text=True, check=True, encoding="utf-8")
        return done.stdout
