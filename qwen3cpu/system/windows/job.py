"""The job object that this process is in, which limits processors and memory as control groups do on Linux."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from qwen3cpu.system.windows.calls import KERNEL, last_error, library, own_process

_EXTENDED_LIMITS, _PROCESSOR_RATE = 9, 15
"""Kinds of information: JOBOBJECTINFOCLASS."""
PROCESS_TIME: Final = 0x2
PROCESS_MEMORY: Final = 0x100
JOB_MEMORY: Final = 0x200
PRIORITY: Final = 0x20
_BELOW_NORMAL: Final = 0x4000
_RATE_ENABLED, _RATE_WEIGHTED, _RATE_HARD, _RATE_RANGE = 0x1, 0x2, 0x4, 0x10
_WHOLE_RATE: Final = 10_000
"""The rate of all processors of the machine."""


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION. Times in units of 100 ns."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority", ctypes.c_uint32),
        ("scheduling", ctypes.c_uint32),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )


class ProcessorRate(ctypes.Structure):
    """JOBOBJECT_CPU_RATE_CONTROL_INFORMATION; of a range, the upper half of `rate` is its end."""

    _fields_ = (("flags", ctypes.c_uint32), ("rate", ctypes.c_uint32))


def memory_limit() -> int | None:
    """Bytes that this process, or all of its job together, may commit; None without a limit."""
    limits = ExtendedLimits()
    if not _ask(_EXTENDED_LIMITS, limits):
        return None
    bounds = [
        bound
        for flag, bound in ((PROCESS_MEMORY, limits.process_memory), (JOB_MEMORY, limits.job_memory))
        if limits.flags & flag
    ]
    return min(bounds, default=None)


def processor_quota() -> float | None:
    """CPUs that the job may use, as a part of all of the machine's; None without a limit."""
    control = ProcessorRate()
    if not _ask(_PROCESSOR_RATE, control) or not control.flags & _RATE_ENABLED or control.flags & _RATE_WEIGHTED:
        return None
    if control.flags & _RATE_RANGE:
        rate = control.rate >> 16
    elif control.flags & _RATE_HARD:
        rate = control.rate
    else:
        return None
    return float(rate) / _WHOLE_RATE * (os.cpu_count() or 1)


class OwnJob:
    """A job of this process alone, inside of the one that it may be in. Others go before it.

    Raises:
        OSError: Windows refuses.
    """

    def __init__(self) -> None:
        kernel = library(KERNEL)
        kernel.CreateJobObjectW.restype = ctypes.c_void_p
        self._job = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
        if not self._job or not kernel.AssignProcessToJobObject(self._job, own_process()):
            raise last_error()

    def limit(self, seconds: float | None, memory: int | None) -> None:
        """Let Windows end this process after so much processor time of its own, and refuse it more memory.

        Args:
            seconds: since it began; None: no limit.
            memory: bytes that it may commit; None: no limit.
        """
        limits = ExtendedLimits(flags=PRIORITY, priority=_BELOW_NORMAL)
        if seconds is not None:
            limits.flags |= PROCESS_TIME
            limits.process_time = int(seconds * 1e7)
        if memory is not None:
            limits.flags |= PROCESS_MEMORY
            limits.process_memory = memory
        size = ctypes.sizeof(limits)
        if not library(KERNEL).SetInformationJobObject(self._job, _EXTENDED_LIMITS, ctypes.byref(limits), size):
            raise last_error()


def _ask(kind: int, answer: ctypes.Structure) -> bool:
    """Fill in what is known of this process's job; False when it is in none."""
    size = ctypes.sizeof(answer)
    return bool(library(KERNEL).QueryInformationJobObject(None, kind, ctypes.byref(answer), size, None))
