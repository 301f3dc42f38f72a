"""Sealed safetensors files: the header has a checksum of itself, and a file is replaced whole or not at all.

The first entry of `__metadata__`, header_sha256, covers the length field and the whole header with its own 64 digits
replaced by zeros; the second, format, says what the file is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from qwen3cpu.errors import CheckpointError
from qwen3cpu.system.file_locks import lock
from qwen3cpu.system.files import renames_open_files

PAGE: Final = 4096
PART_SUFFIX: Final = ".part"
_YOUNG_SECONDS: Final = 60.0
_START: Final = b'{"__metadata__":{"header_sha256":"'
DIGEST: Final = slice(8 + len(_START), 8 + len(_START) + 64)
"""Where in length field and header the digits stand."""


def seal(format_name: str, metadata: Mapping[str, str], tensors: Iterable[tuple[str, str, list[int], int]]) -> bytes:
    """Length field and header, padded with spaces to whole pages; the data follows in the order of the tensors.

    Args:
        format_name: what the file is.
        metadata: what else stands in `__metadata__`.
        tensors: (name, dtype, shape, bytes) each.
    """
    entries: dict[str, Any] = {"__metadata__": {"header_sha256": "0" * 64, "format": format_name, **metadata}}
    offset = 0
    for name, dtype, shape, size in tensors:
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return _finish(entries)


def reseal(header: bytes, metadata: Mapping[str, str]) -> bytes:
    """A sealed header with these entries of `__metadata__` added or replaced; everything else stays."""
    entries = json.loads(header[8:])
    entries["__metadata__"] |= {"header_sha256": "0" * 64, **metadata}
    return _finish(entries)


def _finish(entries: Mapping[str, Any]) -> bytes:
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-(8 + len(text)) % PAGE)
    header = bytearray(len(text).to_bytes(8, "little") + text)
    header[DIGEST] = header_digest(bytes(header))
    return bytes(header)


def header_digest(header: bytes) -> bytes:
    """The 64 hex digits for header_sha256: SHA-256 of length field and header, those digits themselves as zeros."""
    digest = hashlib.sha256(header[: DIGEST.start] + b"0" * 64 + header[DIGEST.stop :])
    return digest.hexdigest().encode("ascii")


def is_sealed(start: bytes, format_name: str) -> bool:
    """Whether a file that begins with these bytes (a page is enough) was written as this, in whatever version."""
    return start.startswith(_START, 8) and start.startswith(f'","format":"{format_name}"'.encode(), DIGEST.stop)


def check_seal(header: bytes, path: Path) -> None:
    """Raise CheckpointError naming `path` when a sealed header is not as it was written."""
    if header[DIGEST] != header_digest(header):
        raise CheckpointError(
            f"{path}: damaged header: expected SHA-256 {header[DIGEST].decode('ascii', 'backslashreplace')}, "
            f"found {header_digest(header).decode()}"
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path` that takes its name when the block succeeds and is removed when it does not.

    The file is locked meanwhile, which tells other processes that it is being written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART_SUFFIX}")
    try:
        with part.open("xb") as file:
            with contextlib.suppress(OSError):  # a file system without locks: nothing can be removed there either
                lock(file.fileno(), shared=False, wait=True)
            yield file
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(OSError):  # others may use the file from the moment when it has its name
                lock(file.fileno(), shared=True, wait=True)
            if renames_open_files():
                os.replace(part, path)
        if not renames_open_files():
            os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_being_written(part: Path) -> bool:
    """Whether a process still writes an unfinished file, as far as can be told. Raises FileNotFoundError."""
    try:
        with part.open("rb") as file:
            # A file this young may belong to a writer that has not come to locking it yet.
            if time.time() - os.fstat(file.fileno()).st_mtime <= _YOUNG_SECONDS:
                return True
            lock(file.fileno(), shared=False)
            return False
    except FileNotFoundError:
        raise
    except OSError:
        return True  # locked by its writer, or not ours to touch
