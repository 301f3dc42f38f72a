"""Access to the libraries of Windows through ctypes."""

from __future__ import annotations

import ctypes
from typing import Any, Final

KERNEL: Final = "kernel32"


def library(name: str) -> Any:
    """Open a library of the system. Pass handles as ctypes objects, because plain numbers are cut to 32 bits."""
    return vars(ctypes)["WinDLL"](name, use_last_error=True)


def last_error() -> OSError:
    """Return the error of the last call that failed."""
    error: OSError = vars(ctypes)["WinError"](vars(ctypes)["get_last_error"]())
    return error


def own_process() -> ctypes.c_void_p:
    """Return the handle of this process. The pseudo handle is the same in every process and is never closed."""
    return ctypes.c_void_p(-1)
