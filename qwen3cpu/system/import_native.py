"""Imports NumPy (with OpenBLAS) and the native module (with OpenMP), so that their idle threads spin only briefly.

GNU's OpenMP runtime lets a waiting thread spin for milliseconds if it finds enough processors. OpenBLAS lets it spin
for a tenth of a second after every product. On a shared machine this spinning takes time slices from the work. Measured
on two cores shared with eight other processes:

- A decode step of a 135M model took 24 ms with OpenMP's default and 16 ms with the number below.

- Decoding 32 tokens after a matrix product took 144 ms with OpenBLAS's default and 95 ms with `SHORT_TIMEOUT`.

Both libraries read their setting from the environment when they start threads. An OpenBLAS that is already loaded is
made to read it again if that is safe (blas_threads.py). Settings of the user are kept.
"""

import importlib
import os
import sys
from pathlib import Path

from qwen3cpu.system.blas_threads import SHORT_TIMEOUT, TIMEOUT_VARIABLE, shorten_waits


def _load(module: str, setting: str, value: str, *others: str) -> None:
    """Import `module` with a setting, unless the setting or one of `others` is set. The environment is restored."""
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
# Tens of microseconds, longer than the pause between the passes of two decode steps.
try:
    _load("qwen3cpu._native", "GOMP_SPINCOUNT", "10000", "OMP_WAIT_POLICY")
except ModuleNotFoundError as error:
    if error.name != "qwen3cpu._native":
        raise
    raise ImportError(
        f"{Path(__file__).parents[1]}: expected the compiled modules of qwen3cpu, found its source alone. "
        "Run `pip install -e .` in the source folder, or start Python in another folder."
    ) from error
