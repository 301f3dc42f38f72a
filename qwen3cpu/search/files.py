"""The files of a folder and their texts: plain text, Markdown and code in UTF-8, and PDF."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from qwen3cpu.checkpoint.input_files import open_regular
from qwen3cpu.errors import CheckpointError, Qwen3CpuError

LARGEST: Final = 64 << 20
"""Bytes of a file that is read. Books have one or two MB."""
_BINARY_WITHIN: Final = 8192
"""Bytes at the start of a file in which a zero says that it is no text, as Git and grep do."""


class Found(NamedTuple):
    """A file of a folder. name: its path in it, with slashes. size in bytes; changed: its st_mtime_ns."""

    name: str
    path: Path
    size: int
    changed: int


class Part(NamedTuple):
    """A text of a file: all of it, or one page of a PDF, counted from 1."""

    text: str
    page: int | None


class UnreadableFileError(Qwen3CpuError):
    """A file cannot be read; the message says why, without its name."""


def walk(folder: Path) -> Iterator[Found]:
    """The files of a folder, by name. Hidden ones are left out, links to folders are not followed."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            try:
                about = path.stat()
            except OSError:
                continue  # removed meanwhile, or a link to nothing
            if not name.startswith(".") and stat.S_ISREG(about.st_mode):
                yield Found(path.relative_to(folder).as_posix(), path, about.st_size, about.st_mtime_ns)


def read(found: Found) -> bytes:
    """The bytes of a file. Raises UnreadableFileError."""
    if found.size > LARGEST:
        raise UnreadableFileError(f"expected at most {LARGEST} bytes, found {found.size}")
    try:
        with open_regular(found.path) as file:
            data = file.read(LARGEST + 1)
    except CheckpointError:
        raise UnreadableFileError("expected a regular file") from None
    except OSError as reason:
        raise UnreadableFileError(reason.strerror or str(reason)) from None
    if len(data) > LARGEST:
        raise UnreadableFileError(f"expected at most {LARGEST} bytes, found more")
    return data


def parts(data: bytes) -> list[Part]:
    """The texts of a file; none of a binary one. Raises UnreadableFileError for a PDF that cannot be read."""
    if data.startswith(b"%PDF-"):
        return _pages(data)
    if b"\0" in data[:_BINARY_WITHIN]:
        return []
    try:
        return [Part(data.decode("utf-8-sig"), None)]
    except UnicodeDecodeError as error:
        found = error.object[error.start]
        raise UnreadableFileError(f"expected UTF-8, found byte 0x{found:02x} at {error.start}") from None


def _pages(data: bytes) -> list[Part]:
    try:
        import pypdf
    except ImportError:
        raise UnreadableFileError("a PDF needs pypdf: pip install 'qwen3cpu[search]'") from None
    logger = logging.getLogger("pypdf")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # it warns of every oddity of a file
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        return [Part(_clean(page.extract_text()), number) for number, page in enumerate(reader.pages, 1)]
    except Exception as reason:  # whatever a damaged file makes it raise
        raise UnreadableFileError(f"pypdf cannot read it: {type(reason).__name__}: {reason}") from None
    finally:
        logger.setLevel(before)


def _clean(text: str) -> str:
    """A page without what no text in UTF-8 has: halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")
