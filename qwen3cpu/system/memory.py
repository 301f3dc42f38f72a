"""Memory: its size, large page-aligned blocks on huge pages, and reading the pages of mapped files."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.errors import CheckpointError
from qwen3cpu.system import cgroups


def anonymous_bytes(size: int) -> NDArray[np.uint8]:
    """Allocate a zeroed, writable, page-aligned uint8 [size]. Its memory returns to the system with the array.

    Raises CheckpointError when the system does not have enough memory.
    """
    try:
        block = _anonymous(size)
    except (OSError, ValueError, OverflowError) as reason:
        raise CheckpointError(
            f"expected {size} bytes of memory for the weights, the system refused: {reason}"
        ) from None
    return np.frombuffer(block, dtype=np.uint8)


def _anonymous(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Private, because shared anonymous memory gets no transparent huge pages.
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without transparent huge pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def bytes_on_disk(size: int, folder: Path) -> NDArray[np.uint8]:
    """Allocate a zeroed, writable, page-aligned uint8 [size] in an unnamed file in `folder`, freed with the array.

    Raises OSError when the disk does not have enough space.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # otherwise writing to the mapping on a full disk would end the process
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype=np.uint8)


@contextlib.contextmanager
def touching(arrays: Iterable[NDArray[np.uint8]]) -> Iterator[None]:
    """Read the pages of `arrays` (views of a mapped file) in a thread while the block runs. At its end all are read.

    An exception in the block, or Ctrl-C while waiting at its end, stops the thread after the current array.
    """
    stop = threading.Event()

    def touch() -> None:
        for array in arrays:
            if stop.is_set():
                return
            _native.touch_pages(array)

    thread = threading.Thread(target=touch, name="qwen3cpu-touch-pages")
    thread.start()
    try:
        yield
        thread.join()
    finally:
        stop.set()
        thread.join()


def system_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process may use: the machine's, or the limit of its control groups or job.

    root: the folder that contains /proc and /sys.
    """
    if sys.platform == "win32":
        return _memory_of_windows()
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for version, folder in cgroups.folders("memory", root):
        text = cgroups.lines(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        if text and text[0].isdigit():
            limits.append(int(text[0]))
    return min(limits)


def _memory_of_windows() -> int:
    from qwen3cpu.system.windows.job import memory_limit
    from qwen3cpu.system.windows.memory import machine_memory

    memory, limit = machine_memory(), memory_limit()
    known = [*([] if memory is None else [memory.total]), *([] if limit is None else [limit])]
    return min(known, default=0)
