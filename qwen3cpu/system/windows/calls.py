"""The libraries of Windows, by ctypes."""

from __future__ import annotations

import ctypes
from typing import Any, Final

KERNEL: Final = "kernel32"


def library(name: str) -> Any:
    """A library of the system. Handles must be passed as ctypes objects: bare numbers are cut to 32 bits."""
    return vars(ctypes)["WinDLL"](name, use_last_error=True)


def last_error() -> OSError:
    """The error of the last call that failed."""
    error: OSError = vars(ctypes)["WinError"](vars(ctypes)["get_last_error"]())
    return error


def own_process() -> ctypes.c_void_p:
    """The handle of this process, which is the same in every process and is never closed."""
    return ctypes.c_void_p(-1)
