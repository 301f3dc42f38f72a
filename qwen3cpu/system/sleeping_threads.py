"""Whether all other threads of this process sleep until this one wakes them, as Linux's /proc tells."""

from __future__ import annotations

import os
import platform
import threading
from pathlib import Path
from typing import Final

_TASKS: Final = Path("/proc/self/task")
_FUTEX: Final = {"x86_64": 202, "aarch64": 98}.get(platform.machine())
"""The system call with which a thread waits for another one."""
_WAITS: Final = (0, 9)
"""Its operations FUTEX_WAIT and FUTEX_WAIT_BITSET."""
_OPERATION: Final = 0x7F
_PRIVATE: Final = 0x80
"""No other process can end the wait."""


def tasks() -> set[str]:
    """The threads of this process by their ids; empty where the system does not tell."""
    try:
        return set(os.listdir(_TASKS))
    except OSError:
        return set()


def others_sleep() -> bool:
    """Whether every other thread waits, with no end set, for something that only a thread of this process can do.

    Then nothing runs but the caller, and nothing will before it lets go: not threads of OpenMP that have no work, nor
    those that wait for a lock, a queue or an event of Python's.
    """
    found = tasks()
    others = found - {str(threading.get_native_id())}
    try:
        # All slept between the first readings and the second: who had been off the CPU at both, but had run in between,
        # would have been switched once more by the third. And who has been woken, and waits for a CPU, is not "S".
        first, *later = [{task: _reading(task) for task in others} for _ in range(3)]
        return all(map(_sleeps, first.values())) and all(each == first for each in later) and tasks() == found
    except (OSError, ValueError, IndexError):  # one has ended, or the kernel does not say
        return False


def _reading(task: str) -> tuple[list[str], list[str]]:
    """A thread's state and how often it has given up the CPU; then the system call it is in, with its arguments."""
    status = (_TASKS / task / "status").read_text().splitlines()
    kept = [line for line in status if line.startswith(("State:", "voluntary_", "nonvoluntary_"))]
    return kept, (_TASKS / task / "syscall").read_text().split()


def _sleeps(reading: tuple[list[str], list[str]]) -> bool:
    (state, *_), call = reading
    if state.split()[1] != "S" or call[0] != str(_FUTEX):
        return False
    operation, timeout = int(call[2], 16), int(call[4], 16)
    return operation & _OPERATION in _WAITS and operation & _PRIVATE != 0 and timeout == 0
