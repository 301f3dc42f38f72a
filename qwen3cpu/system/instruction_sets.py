"""Tells for which instruction sets kernels were compiled, and which one this process uses."""

from __future__ import annotations

from qwen3cpu import _native


def instruction_sets() -> list[tuple[str, bool]]:
    """Return (name, whether this CPU can run it) of every compiled instruction set, best first."""
    return _native.isas()


def chosen_isa() -> str:
    """Return the instruction set that this process uses: the best that runs here, or the one in QWEN3CPU_ISA.

    Raises:
        EngineError: QWEN3CPU_ISA names one that is unknown or cannot run here.
    """
    return _native.chosen_isa()


def physical_cores() -> int:
    """Return the number of physical cores among the CPUs that this process may run on (affinity), at least 1."""
    return _native.physical_cores()
