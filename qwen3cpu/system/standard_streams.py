"""Standard streams that are closed, full, or read by nobody: a command ends with one line and its exit code."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

BAD_INPUT: Final = 2
BROKEN_PIPE: Final = 141
"""128 + SIGPIPE, as shells count."""


def with_streams(program: str, run: Callable[[], int]) -> int:
    """The exit code of a command: BAD_INPUT when stdout is closed or full, BROKEN_PIPE when nobody reads it any more.

    Args:
        program: stands before messages.
        run: the command; what it wrote is flushed before its exit code counts.

    Raises:
        SystemExit: as `run` does.
    """
    _fill_closed()
    if sys.platform == "win32":
        _as_elsewhere()
    if sys.stdout is None:
        complain(program, "stdout is closed: expected a file, a pipe or a terminal to write to")
        return BAD_INPUT
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EINVAL:  # what Windows says of a pipe without a reader
            _discard(sys.stdout)
            return BROKEN_PIPE
        complain(program, f"cannot write or read: {error.strerror or error}")
        # Python would write what is left when it ends, and complain of it itself.
        _discard(sys.stdout)
        _discard(sys.stderr)
        return BAD_INPUT


class Parser(argparse.ArgumentParser):
    """A parser whose help is not lost without a word: argparse takes no notice of errors when it writes."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            (file or sys.stderr).write(message)


def complain(program: str, text: str) -> None:
    """One line on stderr, where that is possible."""
    try:
        print(f"{program}: error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _fill_closed() -> None:
    """Open /dev/null in place of closed streams: a file that is opened later must not become stdout or stderr."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    for number, stream in enumerate(streams):
        if stream is None and not _is_open(number):
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the process


def _as_elsewhere() -> None:
    """Let the streams of Windows be UTF-8, pipes and files too, and the console understand escape sequences."""
    from qwen3cpu.system.windows.console import understand_escapes

    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    understand_escapes()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
        return True
    except OSError:
        return False


def _discard(stream: TextIO) -> None:
    """Let everything that is written to a stream from here on be lost, what it holds back included."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return  # no file behind it
