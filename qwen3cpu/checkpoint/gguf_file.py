"""Reading one GGUF file through mmap: its metadata and where its tensors are, after checking every field of its header.

Source: the format description in the ggml repository (docs/gguf.md), versions 2 and 3, little-endian. The reader of the
`gguf` package is not used. It takes 8 s and 500 MB for the vocabulary of Qwen3, with a NumPy object for each number and
string. Besides, a message about a damaged file must say exactly what is wrong.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.file_kinds import START, describe_kind
from qwen3cpu.checkpoint.gguf_types import BLOCKS, OTHER_TYPES
from qwen3cpu.checkpoint.input_files import open_regular, start_of
from qwen3cpu.checkpoint.json_fields import brief
from qwen3cpu.errors import CheckpointError

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MOST_ENTRIES: Final = 1 << 24  # of metadata, tensors and items of an array: a hundred times a large vocabulary
_STRING, _ARRAY = 8, 9
_SCALARS: Final = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_DEEPEST: Final = 8  # arrays in arrays


def is_gguf(path: Path) -> bool:
    """Whether a file begins as a GGUF file does."""
    return start_of(path, len(MAGIC)) == MAGIC


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: type, shape with the summed dimension last, and byte range [start, stop) in the file."""

    type: str
    shape: tuple[int, ...]
    start: int
    stop: int


class GgufFile:
    """An open GGUF file. Its arrays are read-only views of the mapping and keep it alive."""

    def __init__(self, path: Path) -> None:
        """Open and check `path`. Raises CheckpointError for anything that is not a whole GGUF file of known types."""
        self.path = path
        try:
            with open_regular(path) as file:
                self.size: int = os.fstat(file.fileno()).st_size
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as reason:  # ValueError: an empty file cannot be mapped
            raise CheckpointError(f"{path}: cannot be read: {reason}") from reason
        header = _Header(self._map, path)
        self.metadata: dict[str, Any] = header.metadata()
        self.tensors: dict[str, GgufTensor] = header.tensors(_alignment(self.metadata, path))

    def check_size(self) -> None:
        """Raise CheckpointError when the file has become shorter. Reading a cut mapping would end the process."""
        size = self._map.size()
        if size < self.size:
            raise CheckpointError(
                f"{self.path}: expected {self.size} bytes, as when the file was opened, found {size}: it was cut or "
                "replaced in place meanwhile; write a new file and rename it instead"
            )

    def rows(self, name: str, first: int, last: int) -> NDArray[np.uint8]:
        """Return the stored bytes of rows [first, last): uint8 [rows, bytes of a row], a view of the file."""
        self.check_size()
        tensor = self.tensors[name]
        count = math.prod(tensor.shape[:-1])
        row_bytes = (tensor.stop - tensor.start) // count
        data = np.frombuffer(self._map, np.uint8, (last - first) * row_bytes, tensor.start + first * row_bytes)
        return data.reshape(last - first, row_bytes)

    def advise(self, option: str, start: int, stop: int) -> None:
        """Call madvise on bytes [start, stop) with mmap.`option`, where the system has it."""
        advice = getattr(mmap, option, None)
        if advice is not None and hasattr(self._map, "madvise") and stop > start:
            first = start - start % mmap.PAGESIZE
            self._map.madvise(advice, first, stop - first)


def _alignment(metadata: dict[str, Any], path: Path) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise CheckpointError(f"{path}: general.alignment: expected a power of two, found {brief(alignment)}")
    return alignment


class _Header:
    """Reads a header from its start. Every read is checked against the end of the file."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._at = 0
        if self._take(4, "the magic number") != MAGIC:
            raise self._fail(f"the magic number: expected GGUF, found another file{describe_kind(data[:START])}")
        version = self._number("<I", "the version")
        if version not in _VERSIONS and int.from_bytes(version.to_bytes(4, "big"), "little") in _VERSIONS:
            raise self._fail("expected a little-endian file, found a big-endian one; convert it on this machine")
        if version not in _VERSIONS:
            raise self._fail(f"the version: expected {' or '.join(map(str, _VERSIONS))}, found {version}")
        self._n_tensors = self._count("the number of tensors")
        self._n_metadata = self._count("the number of metadata entries")

    def metadata(self) -> dict[str, Any]:
        """Key -> number, bool, str, bytes (a string that is not UTF-8), or a list of these or of lists."""
        found: dict[str, Any] = {}
        for index in range(self._n_metadata):
            key = self._string(f"metadata key {index}")
            if key in found:
                raise self._fail(f"metadata: key {key!r} appears more than once")
            found[key] = self._value(self._number("<I", key), key)
        return found

    def tensors(self, alignment: int) -> dict[str, GgufTensor]:
        """Return name -> tensor. Raises CheckpointError unless all lie inside the file and none overlap."""
        entries = [self._tensor_entry(index) for index in range(self._n_tensors)]
        data_start = -(-self._at // alignment) * alignment
        found: dict[str, GgufTensor] = {}
        for name, kind, shape, offset in entries:
            tensor = self._place(name, kind, shape, data_start + offset)
            if offset % alignment:
                raise self._fail(f"tensor {name!r}: expected an offset of whole {alignment} bytes, found {offset}")
            if name in found:
                raise self._fail(f"tensor {name!r} appears more than once")
            found[name] = tensor
        end = data_start
        for name, tensor in sorted(found.items(), key=lambda item: (item[1].start, item[1].stop)):
            if tensor.start < end:
                raise self._fail(f"tensor {name!r} overlaps what lies before it: found it at byte {tensor.start}")
            end = tensor.stop
        return found

    def _tensor_entry(self, index: int) -> tuple[str, int, tuple[int, ...], int]:
        name = self._string(f"the name of tensor {index}")
        dimensions = self._number("<I", name)
        if not 1 <= dimensions <= 4:
            raise self._fail(f"tensor {name!r}: expected 1 to 4 dimensions, found {dimensions}")
        # The file stores the summed dimension first.
        shape = tuple(reversed([self._number("<Q", name) for _ in range(dimensions)]))
        return name, self._number("<I", name), shape, self._number("<Q", name)

    def _place(self, name: str, kind: int, shape: tuple[int, ...], start: int) -> GgufTensor:
        if kind not in BLOCKS:
            known = ", ".join(name for name, *_ in BLOCKS.values())
            found = OTHER_TYPES.get(kind, f"type number {kind}")
            raise self._fail(f"tensor {name!r}: expected one of the types {known}, found {found}")
        type_name, weights, block_bytes = BLOCKS[kind]
        if not all(0 < size < 1 << 40 for size in shape) or math.prod(shape) >= 1 << 48:
            raise self._fail(f"tensor {name!r}: expected positive sizes, found {list(shape)}")
        if shape[-1] % weights:
            raise self._fail(f"tensor {name!r}: expected whole blocks of {weights} {type_name}, found {list(shape)}")
        stop = start + math.prod(shape) // weights * block_bytes
        if stop > len(self._data):
            raise self._fail(f"truncated: tensor {name!r} ends at byte {stop}, the file at {len(self._data)}")
        return GgufTensor(type_name, shape, start, stop)

    def _value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind == _STRING:
            return self._text(key)
        if kind in _SCALARS:
            return self._scalars(kind, 1, key)[0]
        if kind != _ARRAY:
            raise self._fail(f"{key}: expected a number, a string or a list, found a value of unknown type {kind}")
        item_kind, count = self._number("<I", key), self._count(key)
        if item_kind == _STRING:
            return [self._text(key) for _ in range(count)]
        if item_kind == _ARRAY and depth < _DEEPEST:
            return [self._value(_ARRAY, key, depth + 1) for _ in range(count)]
        if item_kind not in _SCALARS:
            raise self._fail(f"{key}: expected a list of numbers, strings or lists, found items of type {item_kind}")
        return self._scalars(item_kind, count, key)

    def _scalars(self, kind: int, count: int, key: str) -> list[Any]:
        dtype = np.dtype(_SCALARS[kind])
        values: list[Any] = np.frombuffer(self._take(count * dtype.itemsize, key), dtype).tolist()
        return values

    def _string(self, what: str) -> str:
        text = self._text(what)
        if isinstance(text, bytes):
            raise self._fail(f"{what}: expected UTF-8, found {brief(text)}")
        return text

    def _text(self, what: str) -> str | bytes:
        """Read a string. One that is not UTF-8 is returned as bytes, because the caller may not need it."""
        data = self._take(self._number("<Q", what), what)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data

    def _count(self, what: str) -> int:
        count = self._number("<Q", what)
        if count > _MOST_ENTRIES:
            raise self._fail(f"{what}: expected at most {_MOST_ENTRIES} entries, found {count}")
        return count

    def _number(self, form: str, what: str) -> int:
        number: int = struct.unpack(form, self._take(struct.calcsize(form), what))[0]
        return number

    def _take(self, size: int, what: str) -> bytes:
        stop = self._at + size
        if stop > len(self._data):
            raise self._fail(f"truncated or damaged: {what} needs {size} bytes at {self._at}, the file ends before")
        data = self._data[self._at : stop]
        self._at = stop
        return data

    def _fail(self, text: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: GGUF: {text}")
