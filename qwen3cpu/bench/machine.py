"""What a record says about where it was measured: CPU, version of the package, commit, time."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import qwen3cpu


@dataclass(frozen=True)
class Machine:
    """Where and with what a measurement runs."""

    cpu: str
    version: str
    commit: str | None
    time: str

    @classmethod
    def here(cls) -> Machine:
        """The machine that runs this, now."""
        return cls(cpu_name(), qwen3cpu.__version__, commit(), datetime.now(timezone.utc).isoformat(timespec="seconds"))


def cpu_name() -> str:
    """The CPU's own name where the system tells it, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The git commit of the source tree that the package runs from, with "-dirty" when it has changes."""
    package = Path(qwen3cpu.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie inside somebody else's repository, which does not track it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or None
