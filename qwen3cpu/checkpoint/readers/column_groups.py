"""Matrices that GPTQ and AWQ store by columns: integers [in, out], with a scale and a zero for each group of inputs.

A weight is `scale * (n - zero)`. The difference is an exact integer; the product is rounded once, to the scales' dtype.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.readers.number_formats import rounded
from qwen3cpu.checkpoint.readers.quantized_folder import Part, StoredMatrix
from qwen3cpu.checkpoint.readers.tensor_files import FLOATS, TensorFiles
from qwen3cpu.checkpoint.weight_source import Groups
from qwen3cpu.errors import CheckpointError

_WORDS = ("I32", "U32")


def affine(
    numbers: NDArray[np.uint8],
    zeros: NDArray[np.float32],
    scales: NDArray[np.float32],
    group_of: NDArray[np.intp] | None,
    dtype: str,
) -> NDArray[np.float32]:
    """Return the weights `scale * (n - zero)`, rounded to `dtype`: float32 [rows, cols].

    Args:
        numbers: [rows, cols].
        zeros: whole numbers [rows, groups].
        scales: [rows, groups].
        group_of: the group of each column, intp [cols]; None: groups have equal size and follow one another.
        dtype: of safetensors.
    """
    rows, cols = numbers.shape
    values = numbers.astype(np.float32)
    if group_of is None:
        grouped = values.reshape(rows, scales.shape[1], -1)
        grouped -= zeros[:, :, None]
        grouped *= scales[:, :, None]
    else:
        values -= zeros[:, group_of]
        values *= scales[:, group_of]
    return rounded(values.reshape(rows, cols), dtype)


class ColumnGroups(StoredMatrix):
    """A matrix of `qweight`, `qzeros` and `scales`. Its rows are the columns of these tensors."""

    def __init__(
        self, tensors: TensorFiles, module: str, shape: tuple[int, int], *, bits: int, group_size: int | None
    ) -> None:
        """shape: (out, in). group_size: None for one group. Raises CheckpointError for tensors that do not fit."""
        self.tensors = tensors
        self.bits = bits
        self.shape = shape
        outputs, inputs = shape
        size = group_size or inputs
        self.count = -(-inputs // size)
        whole = inputs % size == 0
        self.group_size: int | None = size if whole else None
        self.group_of: NDArray[np.intp] | None = None if whole else np.arange(inputs) // size
        self.qweight, self.qzeros, self.scales = (f"{module}.{part}" for part in ("qweight", "qzeros", "scales"))
        self.parts = tuple(Part(name, False) for name in (self.qweight, self.qzeros, self.scales))
        if f"{module}.weight" in tensors:
            raise CheckpointError(
                f"{tensors.where(self.qweight)}: expected one form of {module}, found {module}.weight beside it"
            )
        tensors.check(self.qweight, self.qweight_shape(), _WORDS)
        tensors.check(self.qzeros, (self.count, self.words(outputs, "outputs")), _WORDS)
        tensors.check(self.scales, (self.count, outputs), FLOATS)

    def words(self, count: int, what: str) -> int:
        """Return the number of int32 that `count` numbers fill."""
        if count * self.bits % 32:
            raise CheckpointError(
                f"{self.tensors.where(self.qweight)}: expected {what} that fill whole 32-bit words, found {count} "
                f"numbers of {self.bits} bits"
            )
        return count * self.bits // 32

    @abstractmethod
    def qweight_shape(self) -> tuple[int, int]: ...

    @abstractmethod
    def numbers(self, first: int, last: int) -> NDArray[np.uint8]:
        """Return the numbers of rows [first, last), uint8 [rows, in]."""

    @abstractmethod
    def zeros(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the zeros of rows [first, last), float32 [rows, groups]."""

    def scales_of(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the scales of rows [first, last), float32 [rows, groups]."""
        return np.ascontiguousarray(self.tensors.finite_part(self.scales, np.s_[:, first:last]).T)

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """As WeightSource.rows."""
        dtype = self.tensors.entry(self.scales).dtype
        scales, zeros = self.scales_of(first, last), self.zeros(first, last)
        return affine(self.numbers(first, last), zeros, scales, self.group_of, dtype)

    def groups(self, first: int, last: int) -> Groups:
        """As GroupSource.groups."""
        if self.group_size is None:
            return super().groups(first, last)
        scales = self.scales_of(first, last)
        return Groups(self.numbers(first, last), scales, -(self.zeros(first, last) * scales))
