"""Ends a command quietly when a signal asks for it: Ctrl-C from the first import on, SIGTERM and SIGHUP cleanly."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit code after Ctrl-C, as shells count."""
_PROGRAMS: Final = ("qwen3cpu", "qwen3cpu-bench")
_ENDING: Final = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Windows has no SIGHUP."""


def is_command() -> bool:
    """Whether this process was started as a command of this package, not as a program that imports it."""
    name = os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe")
    return name in _PROGRAMS or (name == "-m" and _PROGRAMS[0] in sys.orig_argv)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(INTERRUPTED)


def expect_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, once a command can catch it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise SystemExit in the block, with 128 + the signal's number, so that files are removed.

    A signal that the process ignores, as under nohup, stays ignored. Only the main thread can do this. After the block
    signals do what they did before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    changed = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in changed:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not stop the cleanup
    raise SystemExit(128 + number)


if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # While the modules are imported, there is nothing to clean up, and nothing can catch a KeyboardInterrupt.
    signal.signal(signal.SIGINT, _leave)
