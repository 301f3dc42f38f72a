"""Keeps a model usable, or makes it fail clearly, when its process forks (multiprocessing's "fork", os.fork).

Only the thread that forks exists in the child. A lock that another thread held at that moment would stay locked there
for ever, and the state that it guards may be inconsistent. A ForkLock raises an error in the child instead. The locks
of the native engine do the same (csrc/system/fork_locks.h). csrc/system/parallel.cc starts new threads for the child's
passes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from qwen3cpu.errors import EngineError


class ForkLock:
    """A lock, used by `with lock.held()`, which raises EngineError in a child if another thread held it at the fork.

    `with` enters the lock itself, which is written in C. Ctrl-C may interrupt any Python function. A Python `__enter__`
    could be interrupted after taking the lock, and the lock would stay locked for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost = False
        _locks.add(self)

    def held(self) -> threading.Lock:
        """Return the lock, for `with`. Raises EngineError as `check` does."""
        self.check()
        return self._lock

    def check(self) -> None:
        """Raise EngineError when this process was forked while another thread held the lock."""
        if self._lost:
            raise EngineError(
                "expected a process that forked while no other thread used the model, found one that forked during a "
                'call. Load the model again in this process, or start it with multiprocessing\'s "spawn".'
            )

    def after_fork(self) -> None:
        """Find out whether another thread held the lock. Runs first in a child process."""
        # locked() is not reliable: it returns False while the new holder of the lock waits for the GIL.
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lost = True


def call_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in each child process after a fork, as long as its object exists.

    It serves to reset state about threads of the parent. No other code runs in the child meanwhile. An object may have
    one such method.
    """
    bound: Any = method
    _methods[bound.__self__] = bound.__func__


_locks: WeakSet[ForkLock] = WeakSet()
_methods: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def _after_fork() -> None:
    for lock in list(_locks):
        lock.after_fork()
    for owner, method in list(_methods.items()):
        method(owner)


if sys.platform != "win32":  # which has no forks
    os.register_at_fork(after_in_child=_after_fork)
