"""Sealed safetensors files: the header has a checksum of itself, and a file is replaced atomically.

The first entry of `__metadata__` is header_sha256: the SHA-256 of the length field and the whole header, with zeros for
its own 64 digits. The second entry, format, tells the kind of file.
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
"""Position of the digits in the length field and header."""


def seal(format_name: str, metadata: Mapping[str, str], tensors: Iterable[tuple[str, str, list[int], int]]) -> bytes:
    """Make length field and header, padded with spaces to whole pages. The data follows in the order of the tensors.

    Args:
        format_name: the kind of file.
        metadata: the other entries of `__metadata__`.
        tensors: (name, dtype, shape, bytes) of each tensor.
    """
    entries: dict[str, Any] = {"__metadata__": {"header_sha256": "0" * 64, "format": format_name, **metadata}}
    offset = 0
    for name, dtype, shape, size in tensors:
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return _finish(entries)


def reseal(header: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a sealed header with these entries of `__metadata__` added or replaced."""
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
    """Return the 64 hex digits for header_sha256: SHA-256 of length field and header, with zeros for these digits."""
    digest = hashlib.sha256(header[: DIGEST.start] + b"0" * 64 + header[DIGEST.stop :])
    return digest.hexdigest().encode("ascii")


def is_sealed(start: bytes, format_name: str) -> bool:
    """Whether a file that begins with these bytes has this format, in any version. A page is enough."""
    return start.startswith(_START, 8) and start.startswith(f'","format":"{format_name}"'.encode(), DIGEST.stop)


def check_seal(header: bytes, path: Path) -> None:
    """Raise CheckpointError naming `path` when a sealed header has changed."""
    if header[DIGEST] != header_digest(header):
        raise CheckpointError(
            f"{path}: damaged header: expected SHA-256 {header[DIGEST].decode('ascii', 'backslashreplace')}, "
            f"found {header_digest(header).decode()}"
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside `path`. It is renamed to `path` when the block succeeds, and removed when it fails.

    Meanwhile the file is locked, which tells other processes that it is being written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART_SUFFIX}")
    try:
        with part.open("xb") as file:
            with contextlib.suppress(OSError):  # no locks: then `is_being_written` is always true
                lock(file.fileno(), shared=False, wait=True)
            yield file
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(OSError):  # others may use the file once it has its name
                lock(file.fileno(), shared=True, wait=True)
            if renames_open_files():
                os.replace(part, path)
        if not renames_open_files():
            os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_being_written(part: Path) -> bool:
    """Whether a process may still be writing an unfinished file. Raises FileNotFoundError."""
    try:
        with part.open("rb") as file:
            # The writer of such a young file may not have locked it yet.
            if time.time() - os.fstat(file.fileno()).st_mtime <= _YOUNG_SECONDS:
                return True
            lock(file.fileno(), shared=False)
            return False
    except FileNotFoundError:
        raise
    except OSError:
        return True  # locked by its writer, or not accessible
