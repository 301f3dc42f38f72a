"""Locks on open files, which end with the file and with the process."""

from __future__ import annotations

import sys


def lock(descriptor: int, *, shared: bool, wait: bool = False) -> None:
    """Lock a file; a lock that this descriptor has becomes one of the other kind.

    Args:
        descriptor: of the file.
        shared: whether others may have a shared lock on it, too.
        wait: until it can be had.

    Raises:
        BlockingIOError: another one has a lock that excludes it.
        OSError: it cannot be locked: some file systems have no locks.
    """
    if sys.platform == "win32":
        from qwen3cpu.system.windows import locks

        locks.lock(descriptor, shared=shared, wait=wait)
        return
    import fcntl

    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
