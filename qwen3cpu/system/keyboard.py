"""The keyboard of a terminal: whether keys show on the screen, and those that were pressed before anybody asked."""

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
    """Let keys not show while the block runs, for they would stand in what is written. Ctrl-C is heard.

    What reads the next line must be an editor that shows them by itself, or be inside of `seen_keys`. A console of
    Windows shows keys only while somebody reads a line.
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
    """Let keys show inside of `unseen_keys`, too."""
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
    """Drop the keys that were pressed and not read."""
    if sys.platform == "win32":
        msvcrt: Any = import_module("msvcrt")
        while sys.stdin.isatty() and msvcrt.kbhit():
            msvcrt.getwch()
        return
    import termios

    with suppress(termios.error, OSError, ValueError):  # no terminal
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
