"""The norms that DoRA divides an embedding's columns by."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.adapters.contents import LowRank
from qwen3cpu.packed.matrix import PackedMatrix

_ROWS: Final = 1024


def column_norms(embedding: PackedMatrix, change: LowRank) -> NDArray[np.float32]:
    """Return the norm of each column of `W + scale * (b a)^T`, float32 [hidden]. W [vocab, hidden] is an embedding.

    Every machine gives the same bits, because all steps are elementwise or sum rows in a fixed order.
    """
    scaled = change.b * np.float32(change.scale)
    squares = np.zeros(embedding.cols, np.float64)
    for first in range(0, embedding.rows, _ROWS):
        last = min(first + _ROWS, embedding.rows)
        rows = _native.unpack(embedding.format, embedding.data, embedding.rows, embedding.cols, 1, first, last)
        for k in range(change.rank):
            rows += change.a[k, first:last, None] * scaled[:, k]
        for row in rows.astype(np.float64):
            squares += row * row
    norms: NDArray[np.float32] = np.sqrt(squares).astype(np.float32)
    return norms
