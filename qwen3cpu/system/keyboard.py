"""The keyboard of a terminal: hides typed keys while a program writes, and discards keys that were typed too early."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

_echoing: list[list[Any]] = []
"""The terminal's settings before `unseen_keys`; empty outside of it."""


@contextmanager
def unseen_keys() -> Iterator[None]:
    """Hide typed keys while the block runs, because they would mix with the output. Ctrl-C still works.

    To read a line in the block, use an editor that shows keys by itself, or `seen_keys`. A console of Windows shows
    keys only while a line is read.
    """
    if sys.platform == "win32":
        yield
        return
    import termios

    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, OSError, ValueError):  # no terminal
        yield
        return
    quiet = [*before]
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    _echoing.append(before)
    try:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, _echoing.pop())


@contextmanager
def seen_keys() -> Iterator[None]:
    """Show typed keys in a part of an `unseen_keys` block."""
    if sys.platform == "win32" or not _echoing:
        yield
        return
    import termios

    quiet = termios.tcgetattr(sys.stdin)
    termios.tcsetattr(sys.stdin, termios.TCSANOW, _echoing[-1])
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)


def forget_keys() -> None:
    """Discard the keys that were typed and not read."""
    if sys.platform == "win32":
        msvcrt: Any = import_module("msvcrt")
        while sys.stdin.isatty() and msvcrt.kbhit():
            msvcrt.getwch()
        return
    import termios

    with suppress(termios.error, OSError, ValueError):  # no terminal
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
