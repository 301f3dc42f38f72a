"""The user's cache of packed models: its folder, the names of its files, their states, and their removal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.errors import CheckpointError
from qwen3cpu.packed.packed_file import FORMAT_VERSION, SUFFIX, PackedFile, is_packed
from qwen3cpu.packed.sealed_file import PART_SUFFIX, is_being_written
from qwen3cpu.system.file_locks import lock
from qwen3cpu.system.files import user_folder

_PACKING: Final = "7"
"""Raise this number whenever the same weights give other bytes, so that they are packed again.

Bytes depend on `_native.pack_into`, on rounding (quantization/) and on the format rules of checkpoint/tensors.py.
"""


def cache_folder() -> Path:
    """Return QWEN3CPU_CACHE, or `qwen3cpu` in the user's cache directory. RuntimeError: the user has no home."""
    chosen = os.environ.get("QWEN3CPU_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return user_folder("cache") / "qwen3cpu"


def packed_path(folder: Path, label: str, fingerprint: str, quant: str) -> Path:
    """Return the cache file for the weights with this fingerprint. An existing file is found whatever its label is.

    `label`, a short name of the source, only helps people to tell the files apart.
    """
    key = _key(fingerprint, quant)
    for path in sorted(folder.glob(f"*-{quant}-{key}{SUFFIX}")):
        return path
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", label).strip("-.")[-60:] or "model"
    return folder / f"{readable}-{quant}-{key}{SUFFIX}"


def _key(fingerprint: str, quant: str) -> str:
    return hashlib.sha256(f"{fingerprint}\0{quant}\0{FORMAT_VERSION}\0{_PACKING}".encode()).hexdigest()[:20]


def note_use(path: Path) -> None:
    """Set the modification time of a cache file to mark its last use.

    The access time is not suitable, because listing the cache reads the files, and many file systems do not keep it.
    """
    with contextlib.suppress(OSError):  # another user's cache, which is read-only
        os.utime(path)


@contextlib.contextmanager
def alone_packing(folder: Path) -> Iterator[None]:
    """Wait until no other process packs into this folder, so that processes that load the same model pack it once."""
    descriptor = None
    with contextlib.suppress(OSError):  # Windows opens no folder, some file systems have no locks; then all pack
        descriptor = os.open(folder, os.O_RDONLY)
        lock(descriptor, shared=False, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@dataclass(frozen=True)
class CacheEntry:
    """One file of the cache.

    Attributes:
        path: its path.
        state: "current", "damaged" or "being written"; "stale": packed by another version, so that no load of this
            version uses it; "unfinished": left by a process that was killed.
        source: what it was packed from; None: unknown.
        quant: its weight format; None: unknown.
        size: in bytes.
        used: when it was packed or last loaded, in seconds since 1970.
    """

    path: Path
    state: str
    source: str | None
    quant: str | None
    size: int
    used: float

    @property
    def needless(self) -> bool:
        """Whether it can be removed without loss."""
        return self.state in ("stale", "damaged", "unfinished")


def entries(folder: Path) -> list[CacheEntry]:
    """List the cache's own files in a folder, sorted by name. Only headers are read."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}*")):
        if path.name.endswith((SUFFIX, PART_SUFFIX)):
            with contextlib.suppress(FileNotFoundError):  # removed, or finished and renamed meanwhile
                found.append(_entry(path))
    return found


def _entry(path: Path) -> CacheEntry:
    status = path.stat()
    state, source, quant = _state(path)
    return CacheEntry(path, state, source, quant, status.st_size, status.st_mtime)


def _state(path: Path) -> tuple[str, str | None, str | None]:
    """Return state, source and quant of a file."""
    if path.name.endswith(PART_SUFFIX):
        return "being written" if is_being_written(path) else "unfinished", None, None
    try:
        file = SafetensorsFile(path)
        if not is_packed(file.header):
            return "damaged", None, None
        quant = file.metadata.get("quant")
        source = _source(file)
        if file.metadata.get("format_version") != FORMAT_VERSION:
            return "stale", source, quant
        packed = PackedFile(path)
    except CheckpointError:
        return "damaged", None, None
    state = "current" if path.stem.endswith(f"-{_key(packed.fingerprint, packed.quant)}") else "stale"
    return state, packed.origin.name, packed.quant


def _source(file: SafetensorsFile) -> str | None:
    """Return the name of the source in a packed file of any version."""
    try:
        name = parse_object(file.metadata.get("source", "{}").encode("utf-8", "replace"), "source").get("name")
    except CheckpointError:
        return None
    return name if isinstance(name, str) else None


def remove(entry: CacheEntry) -> bool:
    """Remove a file of the cache, unless it is being written. Processes that have mapped it can go on.

    Returns whether a file was removed. Raises OSError.
    """
    if entry.state == "being written" or not entry.path.exists():
        return False
    if entry.state == "unfinished" and is_being_written(entry.path):
        return False
    entry.path.unlink(missing_ok=True)
    return True


def remove_abandoned(folder: Path) -> None:
    """Remove the unfinished files of processes that were killed while packing into `folder`."""
    for path in folder.glob(f"*{SUFFIX}.*{PART_SUFFIX}"):
        with contextlib.suppress(OSError):  # another process has removed it
            if not is_being_written(path):
                path.unlink()
