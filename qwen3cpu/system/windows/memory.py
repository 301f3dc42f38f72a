"""How much memory a Windows machine has and has left, and what this process has had of it."""

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
    """Bytes of the machine's memory: all, and what can be had without swapping (what files occupy counts as free)."""

    total: int
    available: int


def machine_memory() -> Memory | None:
    """The memory of the machine; None when Windows does not say."""
    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    if not library(KERNEL).GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return Memory(status.total, min(status.available, status.available_commit))


def process_memory() -> ProcessMemory | None:
    """What this process has and has had; None when Windows does not say."""
    counters = ProcessMemory(length=ctypes.sizeof(ProcessMemory))
    if not library(KERNEL).K32GetProcessMemoryInfo(own_process(), ctypes.byref(counters), counters.length):
        return None
    return counters
