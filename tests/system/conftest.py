"""A fixture that makes the system look like Windows."""

import sys
from collections.abc import Iterator

import pytest
from fake_windows import GB, Kernel, filled, refused

from qwen3cpu.system import process_limits
from qwen3cpu.system.windows import console, job, loaded, locks
from qwen3cpu.system.windows import memory as windows_memory


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """A mock of kernel32, on a system that looks like Windows."""
    fake = Kernel()
    for module in (console, job, loaded, locks, windows_memory):
        monkeypatch.setattr(module, "library", lambda name: fake)
    monkeypatch.setattr(sys, "platform", "win32")
    fake.has("K32GetProcessMemoryInfo", filled(peak_working_set=7 * GB, pagefile=2 * GB))
    fake.has("QueryInformationJobObject", refused)
    fake.has("GlobalMemoryStatusEx", filled(total=16 * GB, available=9 * GB, available_commit=12 * GB))
    yield fake
    process_limits.own_job.cache_clear()
