"""Locks on open files for Windows.

They lock a byte far behind the end of the file, because a lock of Windows prevents others from reading locked bytes.
"""

from __future__ import annotations

import ctypes
import errno
from importlib import import_module
from typing import Any, Final

from qwen3cpu.system.windows.calls import KERNEL, last_error, library

_AT_ONCE, _EXCLUSIVE = 1, 2
_TAKEN: Final = (33, 997)
"""ERROR_LOCK_VIOLATION and ERROR_IO_PENDING."""
_PLACE: Final = 1 << 30
"""Upper half of the position of the byte."""


class Overlapped(ctypes.Structure):
    """OVERLAPPED."""

    _fields_ = (
        ("internal", ctypes.c_size_t),
        ("internal_high", ctypes.c_size_t),
        ("offset", ctypes.c_uint32),
        ("offset_high", ctypes.c_uint32),
        ("event", ctypes.c_void_p),
    )


def lock(descriptor: int, *, shared: bool, wait: bool) -> None:
    """Lock a file. A lock that this descriptor already has is converted.

    Raises:
        BlockingIOError: a conflicting lock exists.
        OSError: the file cannot be locked.
    """
    msvcrt: Any = import_module("msvcrt")
    kernel, file = library(KERNEL), ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))
    kernel.UnlockFileEx(file, 0, 1, 0, ctypes.byref(Overlapped(offset_high=_PLACE)))  # a second lock would wait for it
    flags = (0 if shared else _EXCLUSIVE) | (0 if wait else _AT_ONCE)
    if not kernel.LockFileEx(file, flags, 0, 1, 0, ctypes.byref(Overlapped(offset_high=_PLACE))):
        error = last_error()
        if getattr(error, "winerror", None) in _TAKEN:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process has locked it")
        raise error
