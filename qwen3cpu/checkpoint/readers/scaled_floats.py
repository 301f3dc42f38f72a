"""Matrices of 8-bit floats or integers with a scale for the whole, each row, or each block of rows and columns.

The product of a number and its scale is computed in float32, exact or rounded once. It is then rounded to the dtype
that the maker's library returns.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.readers.number_formats import E8M0, FP8, rounded
from qwen3cpu.checkpoint.readers.quantized_folder import Part, StoredMatrix
from qwen3cpu.checkpoint.readers.tensor_files import FLOATS, TensorFiles
from qwen3cpu.errors import CheckpointError

POWERS: Final = ("F8_E8M0", "U8")
"""Dtypes of scales that are powers of two. The stored number is the exponent + 127."""


class ScaledFloats(StoredMatrix):
    """A matrix of numbers and their scales.

    block: (rows, columns) that share a scale, if there is a scale for each block. The last blocks may be smaller. None:
    a scale for the whole matrix or for each row.
    """

    def __init__(
        self,
        tensors: TensorFiles,
        name: str,
        scale: str,
        shape: tuple[int, int],
        *,
        dtypes: tuple[str, ...] = tuple(FP8),
        zeros: str | None = None,
        block: tuple[int, int] | None = None,
    ) -> None:
        """name, scale, zeros: names of tensors; there are as many zeros (int8) as scales. Raises CheckpointError."""
        tensors.check(name, shape, dtypes)
        self._tensors = tensors
        self._name, self._scale, self._zeros = name, scale, zeros
        self.shape = shape
        self.parts = (Part(name, True), *(Part(each, False) for each in (scale, zeros) if each is not None))
        self._block = self._check_scale(block)
        if zeros is not None:
            tensors.check(zeros, tensors.entry(scale).shape, ("I8",))
        stored = tensors.entry(scale).dtype
        self._dtype = "BF16" if stored in POWERS else stored

    def _check_scale(self, block: tuple[int, int] | None) -> tuple[int, int]:
        """Check the scales and return their block. A whole matrix and a row count as blocks too."""
        rows, cols = self.shape
        if self._scale not in self._tensors:
            raise CheckpointError(
                f"{self._tensors.where(self._name)}: expected tensor {self._scale} beside it, found no such tensor"
            )
        entry = self._tensors.entry(self._scale)
        where = self._tensors.where(self._scale)
        if entry.dtype not in (*FLOATS, *POWERS):
            raise CheckpointError(f"{where}: expected dtype {', '.join((*FLOATS, *POWERS))}, found {entry.dtype}")
        if block is not None:
            expected = (-(-rows // block[0]), -(-cols // block[1]))
            if entry.shape != expected:
                raise CheckpointError(f"{where}: expected shape {list(expected)}, found {list(entry.shape)}")
            return block
        if entry.shape in ((), (1,), (1, 1)):
            return rows, cols
        if entry.shape in ((rows,), (rows, 1)):
            return 1, cols
        raise CheckpointError(
            f"{where}: expected one scale, or shape [{rows}, 1] with one for each row, found {list(entry.shape)}"
        )

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """As WeightSource.rows."""
        dtype = self._tensors.entry(self._name).dtype
        numbers = self._tensors.array(self._name)[first:last]
        values = np.take(FP8[dtype], numbers) if dtype in FP8 else numbers.astype(np.float32)
        if self._zeros is not None:
            values -= self._spread(self._tensors.array(self._zeros).astype(np.float32), first, last)
        values *= self._spread(self._scales(), first, last)
        return rounded(values, self._dtype)

    def _scales(self) -> NDArray[np.float32]:
        if self._tensors.entry(self._scale).dtype not in POWERS:
            return self._tensors.finite(self._scale)
        scales = np.take(E8M0, self._tensors.array(self._scale))
        if np.isnan(scales).any():
            raise CheckpointError(f"{self._tensors.where(self._scale)}: expected finite numbers, found NaN")
        return scales

    def _spread(self, each: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
        """Repeat a value for each block to one for each row and column: float32 [rows or 1, cols or 1]."""
        height, width = self._block
        blocks = each.reshape(-(-self.shape[0] // height), -(-self.shape[1] // width))
        if blocks.shape[0] > 1:
            blocks = blocks[np.arange(first, last) // height]
        return blocks if blocks.shape[1] == 1 else np.repeat(blocks, width, axis=1)[:, : self.shape[1]]
