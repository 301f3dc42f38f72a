"""Handles standard streams that are closed, full or have no reader: a command ends with one line and an exit code."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

from qwen3cpu.system.signals import INTERRUPTED, expect_interrupts

BAD_INPUT: Final = 2
CONTROLS: Final = {code: 0xFFFD for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
"""For `str.translate`: every control character but newline and tab becomes a symbol, so that none steers a terminal."""
_FULL: Final = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
BROKEN_PIPE: Final = 141
"""128 + SIGPIPE, the exit code that shells report."""


def with_streams(program: str, run: Callable[[], int]) -> int:
    """Run a command and return its exit code; BAD_INPUT if stdout is closed or full.

    It is BROKEN_PIPE if stdout has no reader, and INTERRUPTED after Ctrl-C.

    Args:
        program: the program's name, for messages.
        run: the command. Its output is flushed before its exit code is returned.

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
            expect_interrupts()
            return run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EINVAL:  # the error of Windows for a pipe without a reader
            _discard(sys.stdout)
            return BROKEN_PIPE
        place = "stdout: cannot be written" if error.errno in _FULL else "cannot write or read"
        complain(program, f"{place}: {error.strerror or error}")
        # Otherwise Python would try to write the rest at its end, and print an error of its own.
        _discard(sys.stdout)
        _discard(sys.stderr)
        return BAD_INPUT


class Parser(argparse.ArgumentParser):
    """A parser that reports errors when it writes help. argparse itself ignores them."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            (file or sys.stderr).write(message)


def complain(program: str, text: str) -> None:
    """Print one line on stderr, if possible."""
    line = " ".join(text.split()).translate(CONTROLS)
    try:
        print(f"{program}: error: {line}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _fill_closed() -> None:
    """Replace closed streams by /dev/null, so that a file that is opened later does not become stdout or stderr."""
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
    """Set the streams of Windows to UTF-8, also pipes and files, and enable escape sequences in the console."""
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
    """Discard all further output to a stream, including the data in its buffer."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return  # the stream has no file
