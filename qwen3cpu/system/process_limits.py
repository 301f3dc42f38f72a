"""Limits that the system sets this process, its peak memory, and limits that it sets itself."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qwen3cpu.system import cgroups

if TYPE_CHECKING:
    from qwen3cpu.system.windows.job import OwnJob

_FILES_OF_WINDOWS: Final = 1 << 16
"""A number for Windows, where a process runs out of memory before it reaches a limit of files."""


def most_files() -> int:
    """Return the number of files that this process may open."""
    if sys.platform == "win32":
        return _FILES_OF_WINDOWS
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 16


def most_address_space() -> int | None:
    """Return the bytes of address space that `ulimit -v` allows; None: no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def peak_memory() -> int:
    """Return the peak of this process's resident memory, in bytes."""
    if sys.platform == "win32":
        from qwen3cpu.system.windows.memory import process_memory

        counters = process_memory()
        return 0 if counters is None else int(counters.peak_working_set)
    for line in cgroups.lines(Path("/proc/self/status")):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    # Only a fallback on Linux, where getrusage also counts memory of the parent from before exec.
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def step_back(niceness: int) -> None:
    """Lower the priority of this process, and let `limit_own` end it.

    niceness: as for `nice`. On Windows `limit_own` lowers the priority.
    """
    if sys.platform == "win32":
        return
    import signal

    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    os.nice(niceness)


def limit_own(seconds: float, more: int | None) -> None:
    """Let the system end this process after some processor time, and limit its memory.

    Args:
        seconds: processor time, counted from this call; 0: no limit.
        more: bytes in addition to the memory it has; None: no limit.
    """
    if sys.platform == "win32":
        _limit_on_windows(seconds, more)
        return
    import resource
    import signal

    signal.setitimer(signal.ITIMER_PROF, seconds)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard if more is None else _address_space() + more
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    if sys.platform == "linux":  # macOS keeps no such limit
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@cache
def own_job() -> OwnJob:
    """Return the job object of this process alone, made at the first call. Raises OSError if Windows refuses."""
    from qwen3cpu.system.windows.job import OwnJob

    return OwnJob()


def _limit_on_windows(seconds: float, more: int | None) -> None:
    from qwen3cpu.system.windows.memory import process_memory

    has = process_memory()
    own_job().limit(
        os.times().user + seconds if seconds else None,
        None if more is None or has is None else int(has.pagefile) + more,
    )


def _address_space() -> int:
    """Return the bytes of address space that this process has."""
    if sys.platform != "linux":
        return 0
    import resource

    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
