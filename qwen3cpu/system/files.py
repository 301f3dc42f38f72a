"""Operations on files that differ between systems: opening, reading at a position, renaming, syncing, user folders."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0)
"""Flag for `os.open`: do not wait for the other end of a FIFO. Windows has no FIFOs among its files."""
BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags for `os.open`: no conversion of line ends, and the file is not inherited by other programs."""


def renames_open_files() -> bool:
    """Whether an open file may be renamed over another one, and a file in use may be removed."""
    return sys.platform != "win32"


def read_at(descriptor: int, size: int, start: int) -> bytes:
    """Read up to `size` bytes from `start`. The file's own position may change."""
    if sys.platform == "win32":
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, size)
    return os.pread(descriptor, size, start)


def sync_folder(path: Path) -> None:
    """Write the names in a folder to the disk. Windows does so by itself."""
    if sys.platform == "win32":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_private(descriptor: int) -> None:
    """Make a file readable for its owner only. On Windows the user's own folders are already private."""
    if sys.platform != "win32":
        os.fchmod(descriptor, 0o600)


def user_folder(kind: str) -> Path:
    """Return the user's folder for the files of programs. Raises RuntimeError for a user without a home.

    kind: "cache" for files that can be made again, or "state" for files that are kept between runs.
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
