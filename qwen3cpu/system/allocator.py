"""How the C library hands memory back: a server that was busy for a moment does not stay large."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGE: Final = 1 << 20


def return_large_blocks() -> None:
    """Let blocks of a megabyte and more go back to the system as soon as they are free.

    By itself glibc raises the limit up to 32 MB once such a block was freed, and then each thread's heap keeps what it
    grew to: some megabytes for each text of two megabytes that was refused. Other C libraries are left as they are.
    """
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)


def return_free_pages() -> None:
    """Give back what is free inside the heaps of all threads, which takes milliseconds.

    By itself glibc gives back only what is free at the end of a heap: one small block that is kept holds the rest.
    """
    if (malloc_trim := _function("malloc_trim")) is not None:
        malloc_trim(0)


def _function(name: str) -> Callable[..., object] | None:
    """A function of the C library; None where it has none of this name."""
    try:
        found: Callable[..., object] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found
