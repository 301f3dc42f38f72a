"""`qwen3cpu-bench`: how fast this machine runs a model, compared with the limits of its memory and multipliers.

command.py              reads the command line and runs the measurements in turn
process.py, worker.py   keep each model in its own process
runs.py                 times one case there
limits.py               the machine's peaks, and the arithmetic of bytes and multiply-adds
drafting.py             the gain of a draft model
machine.py              describes the machine
report.py, plot.py      show the records
"""

from __future__ import annotations

from collections.abc import Sequence

from qwen3cpu.bench.errors import BenchError

__all__ = ["BenchError", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `qwen3cpu-bench`; return the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    from qwen3cpu.bench.command import main as run

    return run(argv)
