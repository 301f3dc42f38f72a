"""A matrix of compressed-tensors in the format "pack-quantized": integers of 2 to 8 bits in words, row by row.

Integers and zeros are stored with `2 ** (bits - 1)` added; zeros are packed along the rows. The library computes
`(n - zero) * scale` in the dtype of the scales.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.readers.bit_fields import unpack_fields, word_bytes
from qwen3cpu.checkpoint.readers.column_groups import affine
from qwen3cpu.checkpoint.readers.quantized_folder import Part, StoredMatrix
from qwen3cpu.checkpoint.readers.row_groups import WORDS, group_order, packed_rows, words_of
from qwen3cpu.checkpoint.readers.tensor_files import FLOATS, TensorFiles
from qwen3cpu.checkpoint.weight_source import Groups
from qwen3cpu.errors import CheckpointError


class CompressedMatrix(StoredMatrix):
    """A matrix of weight_packed, weight_scale, weight_shape and, in some files, weight_zero_point and weight_g_idx."""

    def __init__(
        self,
        tensors: TensorFiles,
        module: str,
        shape: tuple[int, int],
        *,
        bits: int,
        group_size: int | None,
        symmetric: bool,
    ) -> None:
        """group_size: None for whole rows. Raises CheckpointError for tensors that do not fit."""
        rows, cols = shape
        size = group_size or cols
        self._tensors = tensors
        self._shape = shape
        self.bits = bits
        self._packed, self._scale = f"{module}.weight_packed", f"{module}.weight_scale"
        self._zeros = None if symmetric else f"{module}.weight_zero_point"
        form, order = f"{module}.weight_shape", f"{module}.weight_g_idx"
        tensors.check(self._packed, (rows, words_of(cols, bits)), WORDS)
        if cols % size:
            raise CheckpointError(
                f"{tensors.where(self._packed)}: expected columns in whole groups of {size}, found {cols}"
            )
        groups = cols // size
        tensors.check(self._scale, (rows, groups), FLOATS)
        if self._zeros is not None:
            tensors.check(self._zeros, (words_of(rows, bits), groups), WORDS)
        tensors.check(form, (2,), ("I64", "I32"))
        if tuple(tensors.array(form)) != shape:
            found = tensors.array(form).tolist()
            raise CheckpointError(f"{tensors.where(form)}: expected {list(shape)}, found {found}")
        self.parts = (Part(self._packed, True), Part(self._scale, True), Part(form, False))
        self.parts += () if self._zeros is None else (Part(self._zeros, False),)
        self._group_of: NDArray[np.intp] | None = None
        if order in tensors:
            self.parts += (Part(order, False),)
            self._group_of = self._order(order, groups, size)
        self.group_size: int | None = size if self._group_of is None else None

    def _order(self, name: str, groups: int, size: int) -> NDArray[np.intp] | None:
        """Read the group of each column. None: groups follow one another, as they also do if all entries are -1."""
        cols = self._shape[1]
        self._tensors.check(name, (cols,), ("I32", "I64"))
        if (self._tensors.array(name) == -1).all():
            return None
        order = group_order(self._tensors, name, cols, groups)
        return None if np.array_equal(order, np.arange(cols) // size) else order

    def _zeros_of(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the zeros of rows [first, last), float32 [rows, groups or 1]."""
        if self._zeros is None:
            return np.full((last - first, 1), 1 << (self.bits - 1), np.float32)
        start, stop = first // 32, -(-last // 32)  # 32 numbers are whole words
        words = self._tensors.array(self._zeros)[start * self.bits : stop * self.bits]
        packed = word_bytes(words.T)
        numbers = unpack_fields(packed, self.bits, packed.shape[1] * 8 // self.bits)
        return np.ascontiguousarray(numbers[:, first - start * 32 : last - start * 32].T).astype(np.float32)

    def _read(self, first: int, last: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """Read (integers [rows, cols], zeros [rows, groups], scales [rows, groups]) of rows [first, last)."""
        numbers = packed_rows(self._tensors, self._packed, self.bits, self._shape[1], first, last)
        scales = self._tensors.finite_part(self._scale, np.s_[first:last])
        return numbers, np.broadcast_to(self._zeros_of(first, last), scales.shape), scales

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """As WeightSource.rows."""
        numbers, zeros, scales = self._read(first, last)
        return affine(numbers, zeros, scales, self._group_of, self._tensors.entry(self._scale).dtype)

    def groups(self, first: int, last: int) -> Groups:
        """As GroupSource.groups."""
        if self.group_size is None:
            return super().groups(first, last)
        numbers, zeros, scales = self._read(first, last)
        return Groups(np.ascontiguousarray(numbers), scales, -(zeros * scales))
