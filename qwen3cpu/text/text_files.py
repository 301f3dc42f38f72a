"""Reads texts from files and pipes that a user names. Endless ones are refused, and so is a FIFO without a writer."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, Final

from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.files import AT_ONCE, BINARY

LONGEST: Final = 256 << 20
"""Most bytes of a text: far more than any context holds. It stops reading a file such as /dev/zero."""


def read_text_file(path: Path, name: str) -> str:
    """Read the text of a file. A FIFO, such as bash makes of `<(...)`, is read until its writers have closed it.

    Args:
        path: of the file.
        name: of the file in messages.

    Raises:
        ArgumentError: it cannot be read, is a FIFO without a writer, has more than LONGEST bytes, or is not UTF-8.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            is_fifo = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
            text = decode_text(file, name)
    except OSError as reason:
        raise ArgumentError(f"{name}: cannot be read: {reason.strerror or reason}") from reason
    if is_fifo and not text:
        raise ArgumentError(f"{name}: expected a text, found a FIFO that nobody writes to")
    return text


def decode_text(file: BinaryIO, name: str) -> str:
    """Read the text of an open file or pipe, without a byte order mark, which a model would see as a character.

    Raises ArgumentError when it has more than LONGEST bytes or is not UTF-8.
    """
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ArgumentError(f"{name}: expected a text of at most {LONGEST} bytes, found more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = error.object[error.start]
        raise ArgumentError(f"{name}: expected UTF-8, found byte 0x{found:02x} at {error.start}") from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a FIFO; without a writer, reading it ends at once."""
    number = os.open(path, flags | AT_ONCE | BINARY)
    if sys.platform != "win32":
        os.set_blocking(number, True)
    return number
