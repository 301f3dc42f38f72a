"""What becomes of a model when its process forks (multiprocessing's "fork", os.fork).

Only the thread that forks exists in the child. A lock that another thread held at that moment would stay closed there
for ever, and what it guards may be half changed. A ForkLock raises an error in the child instead. (The locks of the
native engine do the same, csrc/system/fork_locks.h. csrc/system/parallel.cc makes new threads for the child's passes.)
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod, WeakSet

from qwen3cpu.errors import EngineError


class ForkLock:
    """A lock, used by `with lock.held()`, which raises EngineError in a child if another thread held it at the fork.

    `with` enters Python's own lock, because a Ctrl-C may end any function of Python: one that took the lock might not
    come to tell `with` so, and the lock would stay closed for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost = False
        _locks.add(self)

    def held(self) -> threading.Lock:
        """The lock, for `with`. Raises EngineError as `check` does."""
        self.check()
        return self._lock

    def check(self) -> None:
        """Raise EngineError when this process was forked while another thread held the lock."""
        if self._lost:
            raise EngineError(
                "expected a process that forked while no other thread used the model, found one that forked during a "
                'call: load the model in this process again, or start it by multiprocessing\'s "spawn"'
            )

    def after_fork(self) -> None:
        """In a child process, first thing: find out whether another thread held the lock."""
        # Not locked(): it says "free" of a lock whose new holder has yet to get the GIL back.
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lost = True


def call_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in each child process after a fork, as long as its object exists.

    It is for state that names threads of the parent. Nothing else runs in the child meanwhile.
    """
    _methods.add(WeakMethod(method, _methods.discard))


_locks: WeakSet[ForkLock] = WeakSet()
_methods: set[WeakMethod[Any]] = set()


def _after_fork() -> None:
    for lock in list(_locks):
        lock.after_fork()
    for each in list(_methods):
        method = each()
        if method is not None:
            method()


if sys.platform != "win32":  # which has no forks
    os.register_at_fork(after_in_child=_after_fork)
