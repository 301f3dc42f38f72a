"""Chooses the number of threads: min(CPU affinity, cgroup quota, physical cores), unless the caller sets it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from qwen3cpu import _native
from qwen3cpu.arguments import shown, whole_number
from qwen3cpu.errors import ArgumentError
from qwen3cpu.system import cgroups

VARIABLE = "QWEN3CPU_THREADS"
MOST_THREADS = 1024


def resolve_threads(threads: int | None) -> int:
    """Return the number of threads to run with.

    Args:
        threads: the caller's number. None: QWEN3CPU_THREADS if it is set, else `default_threads()`.

    Raises:
        ArgumentError: not a whole number from 1 to 1024.
    """
    if threads is not None:
        return whole_number("threads", threads, 1, MOST_THREADS)
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return default_threads()
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_THREADS):
        raise ArgumentError(
            f"environment variable {VARIABLE}: expected a whole number from 1 to {MOST_THREADS}, found {shown(text)}"
        )
    return int(text)


def default_threads(root: Path = Path("/")) -> int:
    """Return min(CPUs of the affinity mask, CPU quota of the cgroup or job, physical cores among them), at least 1.

    root: the folder that contains /proc and /sys.
    """
    limits = [_native.physical_cores(), available_cpus()]
    quota = _job_quota() if sys.platform == "win32" else cgroup_quota(root)
    if quota is not None:
        # Rounded down, because threads that spin at barriers lose whole scheduling periods once the quota is spent.
        limits.append(int(quota))
    return max(1, min(limits))


def available_cpus() -> int:
    """Return the number of logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _job_quota() -> float | None:
    from qwen3cpu.system.windows.job import processor_quota

    return processor_quota()


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Return the CPUs that the control groups of this process allow, the lowest limit of all levels; None: no limit.

    Reads cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us / cpu.cfs_period_us). root: the folder that contains /proc and
    /sys.
    """
    quotas = [
        _quota_v2(folder) if version == 2 else _quota_v1(folder) for version, folder in cgroups.folders("cpu", root)
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_v2(folder: Path) -> float | None:
    lines = cgroups.lines(folder / "cpu.max")
    fields = lines[0].split() if lines else []
    if len(fields) != 2 or fields[0] == "max":
        return None
    return _ratio(fields[0], fields[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = cgroups.lines(folder / "cpu.cfs_quota_us"), cgroups.lines(folder / "cpu.cfs_period_us")
    return _ratio(quota[0], period[0]) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    """Return quota / period; None: the kernel's text means "no limit" or is not understood."""
    try:
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except ValueError:
        return None
