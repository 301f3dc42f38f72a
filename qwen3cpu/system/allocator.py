"""Makes the C library return freed memory, so that a server shrinks again after a busy moment."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGE: Final = 1 << 20


def return_large_blocks() -> None:
    """Return blocks of a megabyte and more to the system as soon as they are freed.

    By default glibc raises this limit up to 32 MB when such a block is freed. Each thread's heap then keeps its largest
    size: some megabytes for each refused text of two megabytes. Other C libraries are not changed.
    """
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)


def return_free_pages() -> None:
    """Return free memory inside the heaps of all threads, which takes milliseconds.

    By default glibc returns only free memory at the end of a heap. One small block there can hold back all the rest.
    """
    if (malloc_trim := _function("malloc_trim")) is not None:
        malloc_trim(0)


def _function(name: str) -> Callable[..., object] | None:
    """Return a function of the C library; None: it has no function of this name."""
    try:
        found: Callable[..., object] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found
