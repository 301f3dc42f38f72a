"""The code for Windows in qwen3cpu/system, run on another system with mocks for the calls of Windows.

These tests have not been run on Windows. They check the calls and the handling of results, not Windows itself.
"""

import ctypes
import errno
import io
import mmap
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from fake_windows import GB, Kernel, filled, refused

from qwen3cpu import _native
from qwen3cpu.system import (
    blas_threads,
    free_memory,
    keyboard,
    memory,
    process_limits,
    standard_streams,
    thread_count,
)
from qwen3cpu.system.windows import calls, job, loaded, locks
from qwen3cpu.system.windows import memory as windows_memory


def in_job(kernel: Kernel, limits: dict[str, int], rate: dict[str, int]) -> None:
    """Put the process into a job with these limits."""

    def answer(own: None, kind: int, *rest: Any) -> int:
        return filled(**{9: limits, 15: rate}[kind])(*rest)

    kernel.has("QueryInformationJobObject", answer)


LAYOUTS = {
    windows_memory.MemoryStatus: (64, {"total": 8, "available": 16, "available_commit": 32}),
    windows_memory.ProcessMemory: (72, {"peak_working_set": 8, "pagefile": 56}),
    job.ExtendedLimits: (144, {"flags": 16, "priority": 56, "process_memory": 112, "job_memory": 120}),
    job.ProcessorRate: (8, {"rate": 4}),
    locks.Overlapped: (32, {"offset": 16, "offset_high": 20}),
}
"""Structure -> its size and the offsets of its fields. layouts_windows.cc of engine_check compares the real headers."""


def test_structures_are_those_of_the_headers() -> None:
    for structure, (size, fields) in LAYOUTS.items():
        assert ctypes.sizeof(structure) == size
        assert {name: getattr(structure, name).offset for name in fields} == fields


# ---- memory


def test_memory_is_what_the_machine_has_and_has_left(kernel: Kernel) -> None:
    assert memory.system_memory() == 16 * GB
    assert free_memory.system_left() == 9 * GB
    assert free_memory.available_memory() == free_memory.AvailableMemory(9 * GB, "system")
    (status,) = kernel.GlobalMemoryStatusEx.asked[0]
    assert status._obj.length == ctypes.sizeof(windows_memory.MemoryStatus)
    kernel.has("GlobalMemoryStatusEx", filled(total=16 * GB, available=9 * GB, available_commit=GB))
    assert free_memory.system_left() == GB


def test_a_job_limits_memory(kernel: Kernel) -> None:
    in_job(kernel, {"flags": job.JOB_MEMORY | job.PROCESS_MEMORY, "job_memory": 6 * GB, "process_memory": 5 * GB}, {})
    assert memory.system_memory() == 5 * GB
    assert free_memory.available_memory() == free_memory.AvailableMemory(3 * GB, "job")
    in_job(kernel, {"flags": job.JOB_MEMORY, "job_memory": GB, "process_memory": 0}, {})
    assert free_memory.available_memory() == free_memory.AvailableMemory(0, "job")
    in_job(kernel, {"flags": 0, "job_memory": GB, "process_memory": GB}, {})
    assert job.memory_limit() is None


def test_a_silent_system_limits_nothing(kernel: Kernel, tmp_path: Path) -> None:
    for name in ("GlobalMemoryStatusEx", "K32GetProcessMemoryInfo"):
        kernel.has(name, refused)
    assert free_memory.available_memory(tmp_path) is None
    assert memory.system_memory() == 0
    assert process_limits.peak_memory() == 0


def test_the_peak_of_memory_is_the_working_sets(kernel: Kernel) -> None:
    assert process_limits.peak_memory() == 7 * GB
    process, _, size = kernel.K32GetProcessMemoryInfo.asked[0]
    assert (process.value, size) == (ctypes.c_void_p(-1).value, 72)


def test_memory_without_a_file_needs_no_flags(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = mmap.mmap
    monkeypatch.setattr(mmap, "mmap", lambda *given, **flags: asked.append((given, flags)) or real(*given, **flags))
    block = memory.anonymous_bytes(4096)
    assert asked == [((-1, 4096), {})]
    assert block.size == 4096
    assert not block.any()


# ---- processors


@pytest.mark.parametrize(
    ("rate", "cpus"),
    [
        ({"flags": 0x5, "rate": 2_500}, 2.0),
        ({"flags": 0x11, "rate": 5_000 << 16 | 100}, 4.0),
        ({"flags": 0x4, "rate": 2_500}, None),  # off
        ({"flags": 0x3, "rate": 5}, None),  # a weight
        ({"flags": 0x1, "rate": 2_500}, None),  # a share of what others leave
    ],
)
def test_a_job_limits_threads(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, rate: dict[str, int], cpus: float | None
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(thread_count, "available_cpus", lambda: 8)
    monkeypatch.setattr(_native, "physical_cores", lambda: 6)
    in_job(kernel, {}, rate)
    assert job.processor_quota() == cpus
    assert thread_count.default_threads() == (6 if cpus is None else cpus)


def test_no_job_limits_no_threads(kernel: Kernel) -> None:
    assert job.processor_quota() is None


def test_a_worker_limits_itself_by_a_job_of_its_own(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "times", lambda: types.SimpleNamespace(user=1.5))
    kernel.has("CreateJobObjectW", lambda *_: 77)
    joined = kernel.has("AssignProcessToJobObject", lambda *_: 1)
    seen = []

    def set_limits(own: ctypes.c_void_p, kind: int, limits: Any, size: int) -> int:
        seen.append((own.value, kind, limits._obj.flags, limits._obj.process_time, limits._obj.process_memory, size))
        return 1

    kernel.has("SetInformationJobObject", set_limits)
    process_limits.step_back(10)
    process_limits.limit_own(2.0, GB)
    process_limits.limit_own(0, None)
    assert [each.value for each in joined.asked[0]] == [77, ctypes.c_void_p(-1).value]
    low = job.PRIORITY
    assert seen == [
        (77, 9, low | job.PROCESS_TIME | job.PROCESS_MEMORY, 35_000_000, 3 * GB, 144),
        (77, 9, low, 0, 0, 144),
    ]


def test_a_job_that_is_refused_is_an_error(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "last_error", lambda: OSError(errno.EACCES, "refused"))
    kernel.has("CreateJobObjectW", lambda *_: 0)
    with pytest.raises(OSError, match="refused"):
        job.OwnJob()
    kernel.has("CreateJobObjectW", lambda *_: 77)
    kernel.has("AssignProcessToJobObject", lambda *_: 1)
    kernel.has("SetInformationJobObject", refused)
    with pytest.raises(OSError, match="refused"):
        job.OwnJob().limit(1.0, None)


# ---- libraries, keyboard and console


def test_loaded_libraries_are_listed(kernel: Kernel) -> None:
    paths = {1 << 40: r"C:\python.exe", 2: r"C:\libomp.dll", 3: r"C:\libscipy_openblas.dll"}

    def list_modules(process: Any, modules: Any, size: int, needed: Any) -> int:
        needed._obj.value = 8 * len(paths)
        if modules is not None:
            assert size == 8 * len(paths)
            modules[:] = list(paths)
        return 1

    def name(module: ctypes.c_void_p, path: Any, length: int) -> int:
        path.value = paths[module.value]
        return len(path.value)

    kernel.has("K32EnumProcessModules", list_modules)
    kernel.has("GetModuleFileNameW", name)
    assert loaded.loaded_files() == sorted(paths.values())
    assert blas_threads.openblas_libraries() == []
    kernel.has("K32EnumProcessModules", refused)
    assert loaded.loaded_files() == []


def test_keys_that_came_before_the_question_are_dropped(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = list("yes\r")
    console_keys = types.SimpleNamespace(kbhit=lambda: bool(typed), getwch=lambda: typed.pop(0))
    monkeypatch.setitem(sys.modules, "msvcrt", console_keys)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    keyboard.forget_keys()
    assert typed
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with keyboard.unseen_keys(), keyboard.seen_keys():
        keyboard.forget_keys()
    assert not typed


def test_a_command_writes_utf_8_and_colours(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    kernel.has("GetStdHandle", lambda stream: 100 - stream)
    modes = {111: 3, 112: None}

    def ask(handle: ctypes.c_void_p, mode: Any) -> int:
        known = modes[handle.value]
        mode._obj.value = known or 0
        return known is not None

    kernel.has("GetConsoleMode", ask)
    kernel.has("SetConsoleMode", lambda handle, mode: modes.update({handle.value: mode}) or 1)
    assert standard_streams.with_streams("program", lambda: print("你好 €") or 0) == 0
    assert out.buffer.getvalue().decode("utf-8") == "你好 €\n"
    assert modes == {111: 7, 112: None}


def test_a_pipe_that_nobody_reads_ends_a_command(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.has("GetStdHandle", lambda stream: 0)
    kernel.has("GetConsoleMode", refused)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))

    def run() -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    assert standard_streams.with_streams("program", run) == standard_streams.BROKEN_PIPE


def test_the_library_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, use_last_error: (name, use_last_error), raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: 5, raising=False)
    monkeypatch.setattr(ctypes, "WinError", lambda code: OSError(code, "denied"), raising=False)
    assert calls.library(calls.KERNEL) == ("kernel32", True)
    assert calls.last_error().errno == 5
