"""Loads the native module, and with it OpenMP, with a short spin of the threads between forward passes.

GNU's runtime lets a waiting thread spin for milliseconds when it believes the machine is its own. Where it is not, the
spinning takes the time slices that the work needs: with two cores shared by eight other processes a decode step of a
135M model took 24 ms with the default and 16 ms with the number below. The runtime reads the setting from the
environment when it is loaded, and only then; what the user has set stays.
"""

import importlib
import os

SPINS = "10000"  # tens of microseconds: longer than the pause between two decode steps' passes
_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def _load_native() -> None:
    """Import qwen3cpu._native with a short spin count, leaving the environment as it was."""
    if any(name in os.environ for name in _SETTINGS):
        importlib.import_module("qwen3cpu._native")
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        importlib.import_module("qwen3cpu._native")
    finally:
        del os.environ["GOMP_SPINCOUNT"]


_load_native()
