"""Loads NumPy and the native module, and with them OpenBLAS and OpenMP, with short spins of threads that wait for work.

GNU's OpenMP runtime lets a waiting thread spin for milliseconds when it believes the machine is its own, OpenBLAS for a
tenth of a second after every product. Where the machine is not its own, the spinning takes the time slices that the
work needs. With two cores shared by eight other processes a decode step of a 135M model took 24 ms with OpenMP's
default and 16 ms with the number below; 32 tokens decoded after a matrix product took 144 ms with OpenBLAS's default
and 95 ms with `SHORT_TIMEOUT`. Both read the setting from the environment when they start threads. An OpenBLAS that is
there already is made to read it again where that is safe (blas_threads.py); what the user has set stays.
"""

import importlib
import os
import sys
from pathlib import Path

from qwen3cpu.system.blas_threads import SHORT_TIMEOUT, TIMEOUT_VARIABLE, shorten_waits


def _load(module: str, setting: str, value: str, *others: str) -> None:
    """Import `module` with a setting that neither it nor the `others` have yet, leaving the environment as it was."""
    if module in sys.modules or any(name in os.environ for name in (setting, *others)):
        importlib.import_module(module)
        return
    os.environ[setting] = value
    try:
        importlib.import_module(module)
    finally:
        del os.environ[setting]


if "numpy" in sys.modules:
    shorten_waits()
_load("numpy", TIMEOUT_VARIABLE, str(SHORT_TIMEOUT))
# Tens of microseconds, longer than the pause between two decode steps' passes.
try:
    _load("qwen3cpu._native", "GOMP_SPINCOUNT", "10000", "OMP_WAIT_POLICY")
except ModuleNotFoundError as error:
    if error.name != "qwen3cpu._native":
        raise
    raise ImportError(
        f"{Path(__file__).parents[1]}: expected the compiled modules of qwen3cpu, found its source alone. "
        "Run `pip install -e .` in the source folder, or start Python in another folder."
    ) from error
