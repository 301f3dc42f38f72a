"""Writes files of vectors, some hundred rows at a time: NumPy's .npy and Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError
from qwen3cpu.packed.sealed_file import replacing
from qwen3cpu.system.outputs import check_output

_HEADER: Final = 128
"""Bytes of a .npy header. It has room for any number of rows, which is known only at the end."""


class Origin(NamedTuple):
    """The origin of a text: a file's name, and the line in it, counted from 1."""

    file: str
    line: int


class VectorWriter(Protocol):
    """Writes rows in their order."""

    def write(self, vectors: NDArray[Any], origins: Sequence[Origin]) -> None:
        """Append vectors [n, d] of n texts."""

    def finish(self) -> None:
        """Write the rest."""


@contextlib.contextmanager
def vector_file(path: Path, empty: NDArray[Any]) -> Iterator[VectorWriter]:
    """Open a writer for a file. The file appears when the block succeeds; after an error nothing stays.

    Args:
        path: its suffix selects the format, .npy or .parquet.
        empty: the vectors of no texts, [0, d], of the file's dtype.

    Raises:
        ArgumentError: another suffix, a missing pyarrow, or a file that cannot be written.
    """
    make = _writer_for(path)
    try:
        with replacing(path) as file:
            writer = make(file, empty)
            try:
                yield writer
            finally:
                writer.finish()  # after an error, too, because pyarrow would otherwise do it when the file is closed
    except OSError as reason:
        raise ArgumentError(f"{path}: cannot be written: {reason.strerror or reason}") from reason


def check_vector_path(name: str, path: Path, inputs: Sequence[str] = ()) -> None:
    """Raise ArgumentError unless `vector_file` can write a file with this suffix, and replaces no other file.

    Args:
        name: of the argument, for the error.
        path: of the file.
        inputs: files that the work reads.
    """
    writer = _writer_for(path)
    check_output(name, path, writer.FORM, (writer.START,), inputs)


def _writer_for(path: Path) -> type[_NpyWriter] | type[_ParquetWriter]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _NpyWriter
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as reason:
            raise ArgumentError(f"{path}: Parquet needs pyarrow: pip install 'qwen3cpu[parquet]'") from reason
        return _ParquetWriter
    raise ArgumentError(f"{path}: expected a name that ends with .npy or .parquet, found {path.suffix or 'no suffix'}")


class _NpyWriter:
    """Writes one array [n, d]."""

    FORM: Final = "a .npy file"
    START: Final = b"\x93NUMPY"

    def __init__(self, file: BinaryIO, empty: NDArray[Any]) -> None:
        self._file, self._dtype, self._columns, self._rows = file, empty.dtype, empty.shape[1], 0
        file.write(self._header())

    def write(self, vectors: NDArray[Any], origins: Sequence[Origin]) -> None:
        self._file.write(np.ascontiguousarray(vectors, self._dtype).data)
        self._rows += len(vectors)

    def finish(self) -> None:
        self._file.seek(0)
        self._file.write(self._header())

    def _header(self) -> bytes:
        """Make a header in version 1.0 of the format (see numpy.lib.format), padded with spaces to `_HEADER` bytes."""
        descr = np.lib.format.dtype_to_descr(self._dtype)
        text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({self._rows}, {self._columns}), }}"
        start = np.lib.format.magic(1, 0) + (_HEADER - 10).to_bytes(2, "little")
        return start + text.encode("latin1").ljust(_HEADER - 11) + b"\n"


class _ParquetWriter:
    """Writes the columns `file`, `line` and `embedding`, a list of d numbers."""

    FORM: Final = "a Parquet file"
    START: Final = b"PAR1"

    def __init__(self, file: BinaryIO, empty: NDArray[Any]) -> None:
        import pyarrow
        import pyarrow.parquet

        self._pyarrow = pyarrow
        self._vector = pyarrow.list_(pyarrow.from_numpy_dtype(empty.dtype), empty.shape[1])
        columns = [("file", pyarrow.string()), ("line", pyarrow.int64()), ("embedding", self._vector)]
        self._schema = pyarrow.schema(columns)
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema)

    def write(self, vectors: NDArray[Any], origins: Sequence[Origin]) -> None:
        flat = self._pyarrow.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = [
            self._pyarrow.array([each.file for each in origins], self._pyarrow.string()),
            self._pyarrow.array([each.line for each in origins], self._pyarrow.int64()),
            self._pyarrow.FixedSizeListArray.from_arrays(flat, type=self._vector),
        ]
        self._writer.write_table(self._pyarrow.Table.from_arrays(columns, schema=self._schema))

    def finish(self) -> None:
        self._writer.close()
