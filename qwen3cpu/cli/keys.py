"""Keys that are pressed at the wrong moment: Ctrl-C waits, and other keys do not answer a later question."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from qwen3cpu.system.keyboard import forget_keys, seen_keys


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, because a half-drawn frame could not be removed from the screen."""
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
    forget_keys()
    with seen_keys():
        return input(question)
