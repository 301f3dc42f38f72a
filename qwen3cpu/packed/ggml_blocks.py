"""Converts packed matrices in `q8` to blocks of ggml's Q8_0 without rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.packed.matrix import PackedMatrix

_GROUP, _BLOCK_GROUPS, _SCALE_BYTES = 32, 4, 64


def q8_0_rows(matrix: PackedMatrix, first: int, last: int) -> NDArray[np.uint8]:
    """Convert rows [first, last) of a matrix in q8 to uint8 [rows, cols / 32 * 34]. `cols` is a multiple of 32.

    Both formats have a float16 scale for 32 numbers of 8 bits. In q8 the numbers have an offset of 128, and lie in
    tiles of 8 rows and blocks of up to 4 groups (csrc/layout/format.h).
    """
    height, groups = _native.TILE_ROWS, matrix.cols // _GROUP
    tiles = matrix.data.reshape(-(-matrix.rows // height), -1)[first // height : -(-last // height)]
    out = np.empty((len(tiles), height, groups, 2 + _GROUP), np.uint8)
    at = 0
    for group in range(0, groups, _BLOCK_GROUPS):
        count = min(_BLOCK_GROUPS, groups - group)
        scales = tiles[:, at : at + _SCALE_BYTES].reshape(-1, _BLOCK_GROUPS, height, 2)[:, :count]
        at += _SCALE_BYTES
        size = count * _GROUP * height
        numbers = tiles[:, at : at + size].reshape(-1, count, _GROUP // 4, height, 4)
        at += size
        out[:, :, group : group + count, :2] = scales.transpose(0, 2, 1, 3)
        in_rows = numbers.transpose(0, 3, 1, 2, 4).reshape(-1, height, count, _GROUP)
        out[:, :, group : group + count, 2:] = in_rows ^ np.uint8(128)
    start = first - first // height * height
    return out.reshape(len(tiles) * height, -1)[start : start + last - first]
