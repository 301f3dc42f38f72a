"""Guards calls of a library that has locks of its own and releases the GIL.

Such calls are dangerous in two situations. In a child process after a fork, locks that another thread held stay locked
for ever. And a thread that returns to Python while the interpreter ends is stopped inside the library, which may crash,
because Rust code cannot be unwound from outside.
"""

from __future__ import annotations

import atexit
import threading
import time
from types import TracebackType
from typing import Final

from qwen3cpu.system.fork_guard import call_in_child

_LONGEST_WAIT: Final = 30.0
"""Seconds for which the end of the interpreter waits for calls under way."""


class LibraryCalls:
    """A context manager around calls of one library. Any number of threads may be inside."""

    def __init__(self) -> None:
        self.lost = False
        """Whether this is a child process of a fork during which another thread was inside."""
        self._inside: list[int] = []
        self._ending = False
        call_in_child(self._after_fork)
        atexit.register(self._end)

    def __enter__(self) -> None:
        own = threading.get_ident()
        self._inside.append(own)
        if self._ending and threading.current_thread() is not threading.main_thread():
            self._inside.remove(own)
            _wait_for_ever()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inside.remove(threading.get_ident())

    def _after_fork(self) -> None:
        own = [thread for thread in self._inside if thread == threading.get_ident()]
        self.lost = self.lost or len(own) < len(self._inside)
        self._inside = own

    def _end(self) -> None:
        """Stop threads that enter (only daemon threads are left), and wait until all inside have left."""
        self._ending = True
        until = time.monotonic() + _LONGEST_WAIT
        while self._inside and time.monotonic() < until:
            time.sleep(0.001)


def _wait_for_ever() -> None:
    closed = threading.Lock()
    closed.acquire()
    closed.acquire()
