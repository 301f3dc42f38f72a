"""Files, where systems differ: ways to open them, reading at a place, names of open files, folders on the disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0)
"""For os.open: a FIFO is not waited for. Windows has none among its files."""
BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""For os.open: bytes as they are, and no other program gets the file."""


def renames_open_files() -> bool:
    """Whether a file that is open may get the name of another one, and one that is used may be removed."""
    return sys.platform != "win32"


def read_at(descriptor: int, size: int, start: int) -> bytes:
    """Up to `size` bytes from `start` on. The file's own position is not to be relied on."""
    if sys.platform == "win32":
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, size)
    return os.pread(descriptor, size, start)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk when this returns. Windows does so by itself."""
    if sys.platform == "win32":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_private(descriptor: int) -> None:
    """Let nobody but the user read a file. On Windows the user's own folders are private already."""
    if sys.platform != "win32":
        os.fchmod(descriptor, 0o600)


def user_folder(kind: str) -> Path:
    """The folder of this user for the files of a program. Raises RuntimeError for a user without a home.

    kind: "cache", for what can be made again, or "state", for what is kept from one run to the next.
    """
    base = os.environ.get({"cache": "XDG_CACHE_HOME", "state": "XDG_STATE_HOME"}[kind])
    if base and Path(base).is_absolute():
        return Path(base)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData/Local"
    if kind == "cache" and sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path.home() / {"cache": ".cache", "state": ".local/state"}[kind]
