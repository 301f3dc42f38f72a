"""Settings of the console of Windows."""

from __future__ import annotations

import ctypes
from typing import Final

from qwen3cpu.system.windows.calls import KERNEL, library

_STREAMS: Final = (-11, -12)
"""Standard output and standard error, for GetStdHandle."""
_ESCAPES: Final = 0x4
"""ENABLE_VIRTUAL_TERMINAL_PROCESSING."""


def understand_escapes() -> None:
    """Enable escape sequences for colours and the cursor in the console. Pipes and files are not changed."""
    kernel = library(KERNEL)
    kernel.GetStdHandle.restype = ctypes.c_void_p
    for stream in _STREAMS:
        handle, mode = ctypes.c_void_p(kernel.GetStdHandle(stream)), ctypes.c_uint32(0)
        if kernel.GetConsoleMode(handle, ctypes.byref(mode)):
            kernel.SetConsoleMode(handle, mode.value | _ESCAPES)
