"""Describes the machine of a record: CPU, version of the package, commit, time."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from qwen3cpu._version import VERSION
from qwen3cpu.system.build_commit import commit


@dataclass(frozen=True)
class Machine:
    """The machine and the version of a measurement."""

    cpu: str
    version: str
    commit: str | None
    time: str

    @classmethod
    def here(cls) -> Machine:
        """The machine that runs this call, at the current time."""
        return cls(cpu_name(), VERSION, commit(), datetime.now(timezone.utc).isoformat(timespec="seconds"))


def cpu_name() -> str:
    """The CPU's name if the system has it, otherwise its architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
