"""`qwen3cpu-bench`: how fast this machine runs a model, beside what its memory and multipliers allow.

command.py reads the command line and takes the measurements in turn; process.py and worker.py keep each model in a
process of its own; runs.py times one case there; limits.py has the machine's peaks and the arithmetic of bytes and
multiply-adds; drafting.py says what a draft model brings; machine.py says where it all ran; report.py and plot.py show
the records.
"""

from __future__ import annotations

from collections.abc import Sequence

from qwen3cpu.bench.errors import BenchError

__all__ = ["BenchError", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command `qwen3cpu-bench`; returns the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    from qwen3cpu.bench.command import main as run

    return run(argv)
