"""Locks on the files of loaded models, so that a model in use is not removed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from qwen3cpu.system.file_locks import lock
from qwen3cpu.system.files import AT_ONCE, BINARY


class InUseError(Exception):
    """A process uses a file or folder. The error's text is the path."""


class UseLock:
    """A shared lock on a file or folder. It ends with this object or the process."""

    def __init__(self, path: Path) -> None:
        """Lock a path. Raises InUseError while another process removes it, OSError if it cannot be locked."""
        self._descriptor = _locked(path, shared=True)

    def release(self) -> None:
        """End the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.release()


def use_locks(paths: Iterable[Path]) -> tuple[UseLock, ...]:
    """Lock all paths that can be locked. Some file systems have no locks.

    Raises InUseError while another process removes one of them.
    """
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found.append(UseLock(path))
    return tuple(found)


@contextlib.contextmanager
def alone_with(paths: Iterable[Path]) -> Iterator[None]:
    """Lock files and folders exclusively while the block runs.

    Raises InUseError when a process has a UseLock on one of them. Paths that cannot be locked count as unused.
    """
    descriptors = []
    try:
        for path in paths:
            with contextlib.suppress(OSError):
                descriptors.append(_locked(path, shared=False))
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _locked(path: Path, *, shared: bool) -> int:
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "neither a file nor a folder", str(path))
    descriptor = os.open(path, os.O_RDONLY | AT_ONCE | BINARY)  # AT_ONCE: does not block if the path has become a FIFO
    try:
        lock(descriptor, shared=shared)
    except BlockingIOError:
        os.close(descriptor)
        raise InUseError(str(path)) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
