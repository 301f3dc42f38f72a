"""Reads one safetensors file through mmap, tensor by tensor, after checking every field of its header.

Source: the format description in the safetensors README. The library's reader is not used, because it copies each
tensor, and because a message about a damaged file must say exactly what is wrong.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
from pathlib import Path
from typing import Final

from qwen3cpu.arguments import as_whole
from qwen3cpu.checkpoint.file_kinds import START, describe_kind
from qwen3cpu.checkpoint.input_files import open_regular, start_of
from qwen3cpu.checkpoint.json_fields import brief, parse_object
from qwen3cpu.checkpoint.mapped_tensors import DTYPE_BYTES, MappedTensors, TensorEntry
from qwen3cpu.errors import CheckpointError
from qwen3cpu.system.files import read_at

_logger = logging.getLogger("qwen3cpu")

_MAX_HEADER_BYTES: Final = 100_000_000  # the limit of the format's own reader
_LENGTH_BYTES: Final = 8


class SafetensorsFile(MappedTensors):
    """An open safetensors file."""

    def __init__(self, path: Path) -> None:
        """Open and check `path`. Raises CheckpointError for anything that is not a whole safetensors file."""
        self.path = path
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                self.size: int = status.st_size
                self.mtime_ns: int = status.st_mtime_ns
                self.header: bytes = _read_header(file.fileno(), self.size, path)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as reason:
            raise CheckpointError(f"{path}: cannot be read: {reason.strerror or reason}") from reason
        self.metadata, self.tensors = _parse_header(self.header, self.size, path)


class SafetensorsStart(MappedTensors):
    """The beginning of a file, with a whole header and no data that can be read. Its modification time is 0."""

    def __init__(self, start: Path, path: Path, size: int) -> None:
        """Check the header in the file `start` as that of the whole file `path` of `size` bytes. CheckpointError."""
        self.path, self.size, self.mtime_ns = path, size, 0
        with open_regular(start) as file:
            self.header = _read_header(file.fileno(), size, path)
        self.tensors = _parse_header(self.header, size, path)[1]


def has_header(path: Path) -> bool:
    """Whether `path`, the beginning of a safetensors file, includes the whole header."""
    start = start_of(path, _LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    # An impossible length is reported when the header is read.
    return len(start) == _LENGTH_BYTES and (length > _MAX_HEADER_BYTES or _LENGTH_BYTES + length <= path.stat().st_size)


def _read_header(file: int, size: int, path: Path) -> bytes:
    start = read_at(file, START, 0)
    prefix, kind = start[:_LENGTH_BYTES], describe_kind(start)
    if len(prefix) < _LENGTH_BYTES:
        raise CheckpointError(f"{path}: expected a safetensors file, found only {size} bytes{kind}")
    length = int.from_bytes(prefix, "little")
    if length > _MAX_HEADER_BYTES or length < 2:
        raise CheckpointError(
            f"{path}: safetensors header: expected a length of 2 to {_MAX_HEADER_BYTES} bytes, found {length}{kind}"
        )
    if _LENGTH_BYTES + length > size:
        raise CheckpointError(
            f"{path}: safetensors header of {length} bytes is larger than the file ({size} bytes): truncated or "
            f"damaged{kind}"
        )
    header = read_at(file, length, _LENGTH_BYTES)
    if len(header) < length:
        raise CheckpointError(f"{path}: expected a header of {length} bytes, found {len(header)}")
    return prefix + header


def _parse_header(header: bytes, size: int, path: Path) -> tuple[dict[str, str], dict[str, TensorEntry]]:
    values = parse_object(header[_LENGTH_BYTES:], f"{path}: safetensors header")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise CheckpointError(f"{path}: __metadata__: expected an object of strings, found {brief(metadata)}")
    tensors = {name: _parse_entry(name, entry, len(header), path) for name, entry in values.items()}
    unknown = {entry.dtype for entry in tensors.values()} - set(DTYPE_BYTES)
    if unknown:
        _logger.warning("%s: found tensors of %d unknown types, such as %s", path, len(unknown), brief(min(unknown)))
    _check_placement(tensors, len(header), size, path)
    return metadata, tensors


def _parse_entry(name: str, value: object, data_start: int, path: Path) -> TensorEntry:
    where = f"{path}: tensor {name!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where}: expected dtype, shape and data_offsets, found {brief(value)}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str):
        raise CheckpointError(f"{where}: dtype: expected a name such as BF16, found {brief(dtype)}")
    if not _are_sizes(shape) or len(shape) > 32:
        raise CheckpointError(f"{where}: shape: expected a list of sizes, found {brief(shape)}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{where}: data_offsets: expected [begin, end], found {brief(offsets)}")
    # A tensor of an unknown type is an error only when it is read.
    expected = math.prod(shape) * DTYPE_BYTES[dtype] if dtype in DTYPE_BYTES else offsets[1] - offsets[0]
    if offsets[1] - offsets[0] != expected:
        raise CheckpointError(
            f"{where}: data_offsets: expected {expected} bytes for {dtype} {shape}, found {offsets[1] - offsets[0]}"
        )
    return TensorEntry(dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _are_sizes(value: object) -> bool:
    if not isinstance(value, list):
        return False
    sizes = [as_whole(each) for each in value]
    return all(size is not None and 0 <= size < 1 << 48 for size in sizes)


def _check_placement(tensors: dict[str, TensorEntry], data_start: int, size: int, path: Path) -> None:
    """Raise CheckpointError unless the tensors cover the data without gaps or overlaps, to the end of the file."""
    end, before = data_start, "the header"
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start < end:
            raise CheckpointError(
                f"{path}: tensor {name!r} overlaps {before}: expected byte {end}, found {entry.start}"
            )
        if entry.start > end:
            raise CheckpointError(f"{path}: expected tensor {name!r} at byte {end}, found it at {entry.start}: a gap")
        end, before = entry.stop, f"tensor {name!r}"
    if end > size:
        raise CheckpointError(f"{path}: truncated: its tensors need {end} bytes, found {size}")
    if end < size:
        raise CheckpointError(f"{path}: expected {end} bytes, as its header says, found {size}")
