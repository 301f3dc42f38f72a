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
"""The rate that means all processors of the machine."""


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
    """JOBOBJECT_CPU_RATE_CONTROL_INFORMATION. For a range, the upper half of `rate` is the maximum."""

    _fields_ = (("flags", ctypes.c_uint32), ("rate", ctypes.c_uint32))


def memory_limit() -> int | None:
    """Return the bytes that this process, or its whole job, may commit; None: no limit."""
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
    """Return the number of CPUs that the job may use, possibly fractional; None: no limit."""
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
    """A job object of this process alone, nested in an outer job if there is one. Its limits lower the priority.

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
        """Let Windows end this process after some processor time of its own, and limit its memory.

        Args:
            seconds: processor time since its start; None: no limit.
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
    """Query information on this process's job into `answer`. False: it is not in a job."""
    size = ctypes.sizeof(answer)
    return bool(library(KERNEL).QueryInformationJobObject(None, kind, ctypes.byref(answer), size, None))
