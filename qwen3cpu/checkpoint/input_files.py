"""Opens the files of a model: regular files only, and texts only up to a size that no model needs.

A FIFO in place of config.json would be waited for, and /dev/zero in place of tokenizer.json read for ever.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from qwen3cpu.errors import CheckpointError
from qwen3cpu.system.files import AT_ONCE, BINARY

LARGEST_TEXT: Final = 64 << 20
LARGEST: Final = {"tokenizer.json": 512 << 20, "chat_template.jinja": 4 << 20}
"""File name -> the most bytes that are read of it; LARGEST_TEXT for all others. The released models have 11 MB."""

_PIECE: Final = 1 << 20  # bytes
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: there is none, or it may not be read.
        CheckpointError: it is a folder, FIFO, socket or device.
    """
    _check_regular(path, os.stat(path).st_mode)  # before it is opened, which can rewind a device
    # A FIFO that has come in its place meanwhile is not waited for.
    file = open(os.open(path, os.O_RDONLY | AT_ONCE | BINARY), "rb")  # noqa: SIM115  handed out
    try:
        _check_regular(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path}: cannot be read: expected a regular file, found {kind_of(mode)}")


def kind_of(mode: int) -> str:
    """What a path is, by its st_mode."""
    return next((name for matches, name in _KINDS if matches(mode)), "a regular file")


def start_of(path: Path, size: int) -> bytes:
    """The first bytes of a regular file; none when it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(size)
    except (OSError, CheckpointError):
        return b""


def pieces_of(path: Path) -> Iterator[bytes]:
    """The contents of a file of any size, some at a time. Raises OSError."""
    # Read, not mapped: what is read does not count as this process's memory.
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def read_file(path: Path) -> bytes | None:
    """The contents of a file; None when there is none.

    Raises CheckpointError when it cannot be read, is no regular file, or is larger than LARGEST allows.
    """
    most = LARGEST.get(path.name, LARGEST_TEXT)
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as reason:
        raise CheckpointError(f"{path}: cannot be read: {reason.strerror or reason}") from reason
    if len(data) > most:
        raise CheckpointError(f"{path}: expected at most {most} bytes, found {os.stat(path).st_size}")
    return data
