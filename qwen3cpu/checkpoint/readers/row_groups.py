"""Matrices of integers stored row by row, each row one run of bits, with a scale for each group of columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.readers.bit_fields import unpack_fields, word_bytes
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles
from qwen3cpu.errors import CheckpointError

WORDS = ("I32", "U32")


def packed_rows(tensors: TensorFiles, name: str, bits: int, cols: int, first: int, last: int) -> NDArray[np.uint8]:
    """Unpack rows [first, last) of words [rows, ceil(cols * bits / 32)]: uint8 [rows, cols]."""
    return unpack_fields(word_bytes(tensors.array(name)[first:last]), bits, cols)


def words_of(cols: int, bits: int) -> int:
    """Return the number of 32-bit words for a row of `cols` numbers. The last word may be partly filled."""
    return -(-cols * bits // 32)


def group_order(tensors: TensorFiles, name: str, cols: int, groups: int) -> NDArray[np.intp]:
    """Read the group of each column from a tensor of integers [cols]. CheckpointError: a group is out of range."""
    tensors.check(name, (cols,), ("I32", "I64"))
    order = tensors.array(name).astype(np.intp)
    wrong = np.flatnonzero((order < 0) | (order >= groups))
    if wrong.size:
        raise CheckpointError(
            f"{tensors.where(name)}: expected groups from 0 to {groups - 1}, found {order[wrong[0]]} at {wrong[0]}"
        )
    return order
