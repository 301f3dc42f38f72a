"""Keys that are pressed while nobody asks for them: they are kept for the next prompt, unseen, and Ctrl-C waits."""

from __future__ import annotations

import signal
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_NO_TERMINAL: Final = (termios.error, OSError, ValueError)
_echoing: list[list[Any]] = []
"""The terminal's settings before `keys_kept`; empty outside of it."""


@contextmanager
def keys_kept() -> Iterator[None]:
    """Let the terminal echo nothing, for keys that are pressed during an answer would stand in it. Ctrl-C is heard.

    What reads the next line must be an editor that echoes by itself, or `ask`.
    """
    try:
        before = termios.tcgetattr(sys.stdin)
    except _NO_TERMINAL:
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
def uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C wait for the end of the block: half a frame on the screen could not be taken back."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    struck: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: struck.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if struck:
            signal.raise_signal(signal.SIGINT)


def ask(question: str) -> str:
    """The answer to a question, by input(). Keys that were pressed before the question do not answer it."""
    with suppress(*_NO_TERMINAL):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    if not _echoing:
        return input(question)
    quiet = termios.tcgetattr(sys.stdin)
    termios.tcsetattr(sys.stdin, termios.TCSANOW, _echoing[-1])
    try:
        return input(question)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
