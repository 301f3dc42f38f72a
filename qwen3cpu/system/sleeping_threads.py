"""Finds out from Linux's /proc whether all other threads of this process sleep until this one wakes them."""

from __future__ import annotations

import os
import platform
import threading
from pathlib import Path
from typing import Final

_TASKS: Final = Path("/proc/self/task")
_FUTEX: Final = {"x86_64": 202, "aarch64": 98}.get(platform.machine())
"""Number of the system call with which a thread waits for another one."""
_WAITS: Final = (0, 9)
"""Its operations FUTEX_WAIT and FUTEX_WAIT_BITSET."""
_OPERATION: Final = 0x7F
_PRIVATE: Final = 0x80
"""Flag: no other process can end the wait."""


def tasks() -> set[str]:
    """Return the ids of this process's threads; empty if the system does not tell."""
    try:
        return set(os.listdir(_TASKS))
    except OSError:
        return set()


def others_sleep() -> bool:
    """Whether every other thread waits, without a timeout, for something that only a thread of this process can do.

    If so, only the caller runs, until it wakes another thread. Examples are idle threads of OpenMP, and threads that
    wait for a lock, a queue or an event of Python.
    """
    found = tasks()
    others = found - {str(threading.get_native_id())}
    try:
        # A thread that ran between the first two readings has a higher switch count by the third, so all have slept.
        # A woken thread that waits for a CPU does not have the state "S".
        first, *later = [{task: _reading(task) for task in others} for _ in range(3)]
        return all(map(_sleeps, first.values())) and all(each == first for each in later) and tasks() == found
    except (OSError, ValueError, IndexError):  # a thread has ended, or the kernel does not tell
        return False


def _reading(task: str) -> tuple[list[str], list[str]]:
    """Read a thread's state and switch counts, and the system call it is in with its arguments."""
    status = (_TASKS / task / "status").read_text().splitlines()
    kept = [line for line in status if line.startswith(("State:", "voluntary_", "nonvoluntary_"))]
    return kept, (_TASKS / task / "syscall").read_text().split()


def _sleeps(reading: tuple[list[str], list[str]]) -> bool:
    (state, *_), call = reading
    if state.split()[1] != "S" or call[0] != str(_FUTEX):
        return False
    operation, timeout = int(call[2], 16), int(call[4], 16)
    return operation & _OPERATION in _WAITS and operation & _PRIVATE != 0 and timeout == 0
