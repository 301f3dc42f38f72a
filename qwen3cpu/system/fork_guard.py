"""What becomes of a model when its process forks (multiprocessing's "fork", os.fork).

Only the thread that forks goes on in the child. Where others were using the model at that moment, their locks stay
closed and their passes half done there, so the child's copy is closed with a clear error; otherwise it works. (The
threads of a forward pass are csrc/system/parallel.cc's own matter.)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from qwen3cpu.errors import EngineError


class ForkCheck:
    """Knows whether this process was forked while one of some locks was held.

    Args:
        locks: of one model.
    """

    def __init__(self, locks: Sequence[threading.Lock]) -> None:
        self._in_use = False
        _checks[self] = locks

    def closed_by_fork(self, locks: Sequence[threading.Lock]) -> None:
        """In a child process, first thing: opens locks whose holders do not exist here, and remembers that."""
        for lock in locks:
            if lock.locked():
                self._in_use = True
                lock.release()

    def __call__(self) -> None:
        """Raise EngineError when the model cannot be used in this process."""
        if self._in_use:
            raise EngineError(
                "expected a process that forked while no other thread used the model, found one that forked during a "
                'call: load the model in this process again, or start it by multiprocessing\'s "spawn"'
            )


_checks: WeakKeyDictionary[ForkCheck, Sequence[threading.Lock]] = WeakKeyDictionary()


def _after_fork() -> None:
    for check, locks in list(_checks.items()):
        check.closed_by_fork(locks)


os.register_at_fork(after_in_child=_after_fork)
