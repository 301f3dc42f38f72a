"""Opens the files of a model: regular files only, and texts only up to a size that no model reaches.

Opening a FIFO named config.json would block, and reading a link to /dev/zero named tokenizer.json would never end.
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
"""File name -> largest allowed size in bytes; LARGEST_TEXT for all others. A released tokenizer.json has 11 MB."""

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
        OSError: the file does not exist or may not be read.
        CheckpointError: it is a folder, FIFO, socket or device.
    """
    _check_regular(path, os.stat(path).st_mode)  # before it is opened, which can rewind a device
    # AT_ONCE: opening does not block on a FIFO that has replaced the file meanwhile.
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
    """Return what a path is, given its st_mode."""
    return next((name for matches, name in _KINDS if matches(mode)), "a regular file")


def start_of(path: Path, size: int) -> bytes:
    """Return the first `size` bytes of a regular file; empty if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(size)
    except (OSError, CheckpointError):
        return b""


def pieces_of(path: Path) -> Iterator[bytes]:
    """Yield the contents of a file of any size, piece by piece. Raises OSError."""
    # Read, not mapped, because mapped pages count as this process's memory.
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def read_file(path: Path) -> bytes | None:
    """Return the contents of a file; None if it does not exist.

    Raises CheckpointError when it cannot be read, is not a regular file, or is larger than LARGEST allows.
    """
    most = LARGEST.get(path.name, LARGEST_TEXT)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = b""
            if size <= most:
                data = file.read(size + 1)  # this reserves memory at once, so `most` would be too much
                while len(data) > size and len(data) <= most and (more := file.read(_PIECE)):
                    data += more  # the file has grown meanwhile
                size = len(data)
    except FileNotFoundError:
        return None
    except OSError as reason:
        raise CheckpointError(f"{path}: cannot be read: {reason.strerror or reason}") from reason
    if size > most:
        raise CheckpointError(f"{path}: expected at most {most} bytes, found {size}")
    return data
