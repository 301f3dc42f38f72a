"""The instruction sets that kernels were compiled for, and the one that this process uses."""

from __future__ import annotations

from qwen3cpu import _native


def instruction_sets() -> list[tuple[str, bool]]:
    """(name, whether this CPU can run it) of every compiled instruction set, best first."""
    return _native.isas()


def chosen_isa() -> str:
    """The instruction set that this process uses: the best that runs here, or the one that QWEN3CPU_ISA names.

    Raises:
        EngineError: QWEN3CPU_ISA names one that is unknown or cannot run here.
    """
    return _native.chosen_isa()


def physical_cores() -> int:
    """Physical cores among the CPUs that this process may run on (affinity), at least 1."""
    return _native.physical_cores()
