"""Finds how much memory this process may still use: free memory of the system, control groups, resource limits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from qwen3cpu.system import cgroups
from qwen3cpu.system.process_limits import most_address_space


@dataclass(frozen=True)
class AvailableMemory:
    """Bytes, and what limits them: "system", "cgroup", "job" (of Windows) or "resource limit"."""

    bytes: int
    bound: str


def available_memory(root: Path = Path("/")) -> AvailableMemory | None:
    """Return the lowest of all limits; None: the system does not tell. root: the folder that contains /proc and /sys.

    Memory that only caches files counts as free.
    """
    bounds = [("system", system_left(root)), ("resource limit", _resource_limit(root))]
    bounds += [("cgroup", left) for left in _cgroups(root)]
    bounds += [("job", _job())]
    known = [AvailableMemory(max(left, 0), bound) for bound, left in bounds if left is not None]
    return min(known, key=lambda each: each.bytes, default=None)


def system_left(root: Path = Path("/")) -> int | None:
    """Return the bytes that are available without swapping: MemAvailable of Linux; on macOS the whole memory.

    None: the system does not tell. root: the folder that contains /proc.
    """
    if sys.platform == "win32":
        from qwen3cpu.system.windows.memory import machine_memory

        memory = machine_memory()
        return None if memory is None else memory.available
    left = _fields(root / "proc/meminfo").get("MemAvailable")
    if left is not None:
        return left * 1024
    if sys.platform == "darwin":
        import os

        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroups(root: Path) -> list[int]:
    """Return the bytes that each control group with a limit has left."""
    left = []
    for version, folder in cgroups.folders("memory", root):
        names = {
            2: ("memory.max", "memory.current", "inactive_file"),
            1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        }[version]
        limit, used = (_number(folder / name) for name in names[:2])
        if limit is not None and used is not None:
            left.append(limit - used + _fields(folder / "memory.stat").get(names[2], 0))
    return left


def _job() -> int | None:
    """Return the bytes that the job object of Windows leaves, assuming that no other process is in it."""
    if sys.platform != "win32":
        return None
    from qwen3cpu.system.windows.job import memory_limit
    from qwen3cpu.system.windows.memory import process_memory

    limit, used = memory_limit(), process_memory()
    return None if limit is None or used is None else limit - int(used.pagefile)


def _resource_limit(root: Path) -> int | None:
    """Return the bytes of address space that `ulimit -v` leaves."""
    limit, used = most_address_space(), _fields(root / "proc/self/status").get("VmSize")
    return None if limit is None or used is None else limit - used * 1024


def _number(path: Path) -> int | None:
    """Read a file with one number; None: it has another text, such as "max"."""
    lines = cgroups.lines(path)
    return int(lines[0]) if lines and lines[0].strip().isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """Read lines "name: number kB" or "name number" into a dictionary."""
    found = {}
    for line in cgroups.lines(path):
        name, _, rest = line.partition(":") if ":" in line else line.partition(" ")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0])
    return found
