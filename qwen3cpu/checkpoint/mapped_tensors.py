"""The common base of files of tensors: a mapping, and the place of each tensor in it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.json_fields import brief
from qwen3cpu.errors import CheckpointError

DTYPE_BYTES: Final = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
_NUMPY: Final[dict[str, np.dtype[Any]]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "I64": np.dtype("<i8"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
    "F8_E8M0": np.dtype("u1"),
}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: safetensors dtype, shape, and byte range [start, stop) in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class MappedTensors:
    """An open file. Its arrays are read-only views of the mapping and keep it alive.

    Attributes:
        path: its path.
        size: bytes of the file when it was opened.
        mtime_ns: its modification time when it was opened.
        header: bytes that change with the names, shapes and places of tensors.
        tensors: the tensors, by their names in the file.
    """

    path: Path
    size: int
    mtime_ns: int
    header: bytes
    tensors: dict[str, TensorEntry]
    _map: mmap.mmap

    def check_size(self) -> None:
        """Raise CheckpointError when the file has become shorter. Reading a cut mapping would end the process."""
        size = self._map.size()
        if size < self.size:
            raise CheckpointError(
                f"{self.path}: expected {self.size} bytes, as when the file was opened, found {size}: it was cut or "
                "replaced in place meanwhile; write a new file and rename it instead"
            )

    def array(self, name: str) -> NDArray[Any]:
        """Return a tensor in its shape and NumPy's type of the same name, as a view of the file.

        BF16 comes as uint16 and 8-bit floats as uint8, the bits of types that NumPy lacks. Raises CheckpointError for
        a dtype that is not supported.
        """
        entry = self.tensors[name]
        if entry.dtype not in _NUMPY:
            raise CheckpointError(
                f"{self.path}: tensor {name!r}: expected dtype {', '.join(_NUMPY)}, found {brief(entry.dtype)}"
            )
        return self.raw(name).view(_NUMPY[entry.dtype]).reshape(entry.shape)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a tensor, a view of the file."""
        return self.between(self.tensors[name].start, self.tensors[name].stop)

    def between(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return bytes [start, stop), a view of the file."""
        self.check_size()
        return np.frombuffer(self._map, dtype=np.uint8, count=stop - start, offset=start)

    def advise(self, option: str, start: int, stop: int) -> None:
        """Call madvise on bytes [start, stop) with mmap.`option`, where the system has it."""
        advice = getattr(mmap, option, None)
        if advice is None or stop <= start or not hasattr(self._map, "madvise"):
            return
        first = start - start % mmap.PAGESIZE
        try:
            self._map.madvise(advice, first, stop - first)
        except OSError:
            return  # it is only advice; a kernel without huge pages for files returns EINVAL
