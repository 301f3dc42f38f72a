"""How much memory this process may still use: what the system has left, control groups, resource limits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from qwen3cpu.system import cgroups


@dataclass(frozen=True)
class AvailableMemory:
    """Bytes, and what sets the bound: "system", "cgroup" or "resource limit"."""

    bytes: int
    bound: str


def available_memory(root: Path = Path("/")) -> AvailableMemory | None:
    """The tightest of all bounds; None where the system tells nothing. root: where /proc and /sys are found.

    Memory that holds files which can be read again counts as free.
    """
    bounds = [("system", system_left(root)), ("resource limit", _resource_limit(root))]
    bounds += [("cgroup", left) for left in _cgroups(root)]
    known = [AvailableMemory(max(left, 0), bound) for bound, left in bounds if left is not None]
    return min(known, key=lambda each: each.bytes, default=None)


def system_left(root: Path = Path("/")) -> int | None:
    """Bytes that the system could give without swapping: MemAvailable of Linux; the whole memory on macOS.

    None where the system does not say. root: where /proc is found.
    """
    left = _fields(root / "proc/meminfo").get("MemAvailable")
    if left is not None:
        return left * 1024
    if sys.platform == "darwin":
        import os

        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroups(root: Path) -> list[int]:
    """What each group with a limit has left."""
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


def _resource_limit(root: Path) -> int | None:
    """What `ulimit -v` leaves of address space."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _fields(root / "proc/self/status").get("VmSize")
    if limit == resource.RLIM_INFINITY or used is None:
        return None
    return limit - used * 1024


def _number(path: Path) -> int | None:
    """A file with one number; None when it has another text, such as "max"."""
    lines = cgroups.lines(path)
    return int(lines[0]) if lines and lines[0].strip().isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """Lines "name: number kB" or "name number" as a mapping."""
    found = {}
    for line in cgroups.lines(path):
        name, _, rest = line.partition(":") if ":" in line else line.partition(" ")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0])
    return found
