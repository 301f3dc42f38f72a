"""Locks on open files, which end when the file is closed or the process ends."""

from __future__ import annotations

import sys


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
