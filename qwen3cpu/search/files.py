"""Finds the files of a folder and reads their texts: plain text, Markdown and code in UTF-8, and PDF."""

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
"""Most bytes of a file to read. A book has one or two MB."""
_BINARY_WITHIN: Final = 8192
"""A file with a zero among this many first bytes counts as binary, as in Git and grep."""


class Found(NamedTuple):
    """A file of a folder. name: its path in the folder, with slashes. size: in bytes. changed: its st_mtime_ns."""

    name: str
    path: Path
    size: int
    changed: int


class Part(NamedTuple):
    """A text of a file: the whole file, or one page of a PDF. page: counted from 1; None: not a PDF."""

    text: str
    page: int | None


class UnreadableFileError(Qwen3CpuError):
    """A file cannot be read. The message has the reason without the file's name."""


def walk(folder: Path) -> Iterator[Found]:
    """Yield the files of a folder, sorted by name. Hidden files are left out; links to folders are not followed."""
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
    """Read the bytes of a file. Raises UnreadableFileError."""
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
    """Extract the texts of a file; none from a binary file. UnreadableFileError: not UTF-8, or an unreadable PDF."""
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
    logger.setLevel(logging.CRITICAL)  # pypdf warns about every oddity of a file
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        return [Part(_clean(page.extract_text()), number) for number, page in enumerate(reader.pages, 1)]
    except Exception as reason:  # a damaged file may make pypdf raise any error
        raise UnreadableFileError(f"pypdf cannot read it: {type(reason).__name__}: {reason}") from None
    finally:
        logger.setLevel(before)


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which cannot be encoded in UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
