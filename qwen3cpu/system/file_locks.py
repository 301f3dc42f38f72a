"""Locks on open files, which end when the file is closed or the process ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from qwen3cpu.system.files import BINARY


def open_locked(path: Path) -> BinaryIO:
    """Open a file for reading and writing, and lock it. A missing file is made first, and is empty.

    Everybody locks the one file that has the name: nobody makes it elsewhere and renames it.

    Returns:
        The file, without a buffer. Its end ends the lock.

    Raises:
        BlockingIOError: another process has locked it, or has removed or renamed it meanwhile.
        OSError: it cannot be opened.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o666), "r+b", buffering=0)
    try:
        lock(file.fileno(), shared=False)
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            raise BlockingIOError(f"{path} has been replaced")
    except FileNotFoundError:
        file.close()
        raise BlockingIOError(f"{path} has been removed") from None
    except BaseException:
        file.close()
        raise
    return file


def lock(descriptor: int, *, shared: bool, wait: bool = False) -> None:
    """Lock a file. A lock that this descriptor already has is converted.

    Args:
        descriptor: of the file.
        shared: whether others may have a shared lock on it, too.
        wait: wait until the lock is free.

    Raises:
        BlockingIOError: a conflicting lock exists.
        OSError: the file cannot be locked, because some file systems have no locks.
    """
    if sys.platform == "win32":
        from qwen3cpu.system.windows import locks

        locks.lock(descriptor, shared=shared, wait=wait)
        return
    import fcntl

    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
