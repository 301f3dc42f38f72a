"""The error for a benchmark that cannot be run."""

from __future__ import annotations

from qwen3cpu.errors import Qwen3CpuError


class BenchError(Qwen3CpuError):
    """A benchmark cannot be run: impossible cases, a worker that failed, or a missing extra."""
