"""Finds the total and free memory of a Windows machine, and the memory of this process."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from qwen3cpu.system.windows.calls import KERNEL, library, own_process


class MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("total_commit", ctypes.c_uint64),
        ("available_commit", ctypes.c_uint64),
        ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64),
        ("available_extended", ctypes.c_uint64),
    )


class ProcessMemory(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        ("peak_paged_pool", ctypes.c_size_t),
        ("paged_pool", ctypes.c_size_t),
        ("peak_nonpaged_pool", ctypes.c_size_t),
        ("nonpaged_pool", ctypes.c_size_t),
        ("pagefile", ctypes.c_size_t),
        ("peak_pagefile", ctypes.c_size_t),
    )


class Memory(NamedTuple):
    """Bytes of the machine's memory. available: what can be used without swapping; cached files count as free."""

    total: int
    available: int


def machine_memory() -> Memory | None:
    """Return the memory of the machine; None: Windows does not tell."""
    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    if not library(KERNEL).GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return Memory(status.total, min(status.available, status.available_commit))


def process_memory() -> ProcessMemory | None:
    """Return the current and peak memory of this process; None: Windows does not tell."""
    counters = ProcessMemory(length=ctypes.sizeof(ProcessMemory))
    if not library(KERNEL).K32GetProcessMemoryInfo(own_process(), ctypes.byref(counters), counters.length):
        return None
    return counters
