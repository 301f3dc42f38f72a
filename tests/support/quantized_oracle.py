"""An independent reader of the packed weight formats and their int8 inputs, in NumPy.

It is written from the diagrams of csrc/layout/format.h and the contracts of csrc/kernels/table.h, not from the packing
code. If this reader and the engine agree on the logits of a packed model, the format matches its description.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle import Oracle

Array = NDArray[Any]
Packed = tuple[str, int, int, NDArray[np.uint8]]
"""format, rows, cols, bytes"""

ACTIVATION_BLOCK = {"f32": None, "bf16": None, "q8": 32, "q4": 256, "q4s": 256}
ACTIVATION_BLOCK |= {"q4x2": 256, "q4a32": 32, "q4a64": 32, "q4a128": 32}
"""Number of inputs that share an int8 scale; None: inputs stay float."""


def unpack(packed: Packed) -> NDArray[np.float64]:
    """The exact weights [rows, cols] of packed bytes."""
    weight_format, rows, cols, data = packed
    tiles = -(-rows // 8)
    reader = READERS[weight_format]
    weights = reader(weight_format, data, tiles, cols)
    assert weights.shape[:2] == (tiles, 8)
    assert not weights.reshape(tiles * 8, -1)[rows:].any(), "rows that only pad must be zero"
    if weight_format in ("f32", "bf16", "q8", "q4s"):  # the others have levels that need not include zero
        assert not weights[:, :, cols:].any(), "columns that only pad must be zero"
    return weights.reshape(tiles * 8, -1)[:rows, :cols]


def _float_tiles(weight_format: str, data: Array, tiles: int, cols: int) -> Array:
    """[tile][k][8 rows], every tile padded to whole cache lines."""
    size = {"f32": 4, "bf16": 2}[weight_format]
    values = data.reshape(tiles, -1)[:, : cols * 8 * size]
    assert data.size == tiles * (-(-cols * 8 * size // 64) * 64)
    if weight_format == "f32":
        floats = np.ascontiguousarray(values).view("<f4")
    else:
        floats = (np.ascontiguousarray(values).view("<u2").astype(np.uint32) << 16).view("<f4")
    return floats.astype(np.float64).reshape(tiles, cols, 8).transpose(0, 2, 1)


def _blocks(
    tile: Array, groups: int, block_groups: int, group_bytes: int, scale_bytes: int = 64
) -> list[tuple[Array, Array]]:
    """(bytes of scales, bytes of the quants) of each block of a tile; the last one may be short."""
    blocks, at = [], 0
    for first in range(0, groups, block_groups):
        size = min(block_groups, groups - first) * group_bytes
        blocks.append((tile[at : at + scale_bytes], tile[at + scale_bytes : at + scale_bytes + size]))
        at += scale_bytes + size
    assert at == tile.size
    return blocks


def _q8_tiles(_: str, data: Array, tiles: int, cols: int) -> Array:
    groups = -(-cols // 32)
    out = np.zeros((tiles, 8, groups * 32))
    for t, tile in enumerate(data.reshape(tiles, -1)):
        for b, (scale_bytes, q_bytes) in enumerate(_blocks(tile, groups, 4, 256)):
            q = q_bytes.reshape(-1, 8, 8, 4).astype(np.float64) - 128  # group, quad, row, k
            scale = scale_bytes.copy().view("<f2").reshape(4, 8)[: len(q)].astype(np.float64)  # group, row
            weights = q * scale[:, None, :, None]
            out[t, :, b * 128 : b * 128 + 32 * len(q)] = weights.transpose(2, 0, 1, 3).reshape(8, -1)
    return out


def _q4_tiles(weight_format: str, data: Array, tiles: int, cols: int) -> Array:
    groups = -(-cols // 32)
    row_scales = data[-tiles * 32 :].copy().view("<f4").reshape(tiles, 8).astype(np.float64)
    out = np.zeros((tiles, 8, groups * 32))
    for t, tile in enumerate(data[: -tiles * 32].reshape(tiles, -1)):
        for b, (scale_bytes, q_bytes) in enumerate(_blocks(tile, groups, 8, 128)):
            n = _nibbles(q_bytes)
            scales = scale_bytes.reshape(8, 8)[: len(n), None, :, None]  # group, 1, row, 1
            if weight_format == "q4":
                steps = (scales & 15) * (8 * (n - 8) + 3 * ((scales >> 4).astype(np.float64) - 7))
            else:
                steps = scales.view(np.int8) * (n - 8)
            weights = steps * row_scales[t][None, None, :, None]
            out[t, :, b * 256 : b * 256 + 32 * len(n)] = weights.transpose(2, 0, 1, 3).reshape(8, -1)
    return out


def _q4x2_tiles(_: str, data: Array, tiles: int, cols: int) -> Array:
    """Two matrices in q4; the second begins at a cache line."""
    size = (-(-cols // 256) * 64 + -(-cols // 32) * 128 + 32) * tiles
    second = -(-size // 64) * 64
    assert len(data) == second + size
    return _q4_tiles("q4", data[:size], tiles, cols) + _q4_tiles("q4", data[second:], tiles, cols)


def _nibbles(q_bytes: Array) -> Array:
    """The nibbles [group of 32][quad][row][k] of these bytes."""
    both = q_bytes.reshape(-1, 4, 8, 4)  # group, vector, row, k
    return np.concatenate([both & 15, both >> 4], axis=1).astype(np.float64)


def affine_parts(weight_format: str, data: Array, tiles: int, cols: int) -> tuple[Array, Array, Array]:
    """(n, scale, minimum) of a q4a matrix for every weight, each [tiles, 8, cols padded to whole groups]."""
    group = int(weight_format.removeprefix("q4a"))
    groups = -(-cols // group)
    scale_bytes = 2 * 8 * 4 * (256 // group)
    n, scale, minimum = (np.zeros((tiles, 8, groups * group)) for _ in range(3))
    for t, tile in enumerate(data.reshape(tiles, -1)):
        for b, (head, q_bytes) in enumerate(_blocks(tile, groups, 256 // group, group * 4, scale_bytes)):
            here = slice(b * 256, b * 256 + q_bytes.size // 4)
            n[t, :, here] = _nibbles(q_bytes).transpose(2, 0, 1, 3).reshape(8, -1)
            for part, out in zip(head.copy().view("<f4").reshape(2, -1, 8), (scale, minimum), strict=True):
                out[t, :, here] = np.repeat(part.T, group, axis=1)[:, : q_bytes.size // 4]
    return n, scale, minimum


def _q4a_tiles(weight_format: str, data: Array, tiles: int, cols: int) -> Array:
    n, scale, minimum = affine_parts(weight_format, data, tiles, cols)
    return n * scale + minimum


READERS = {"f32": _float_tiles, "bf16": _float_tiles, "q8": _q8_tiles, "q4": _q4_tiles, "q4s": _q4_tiles}
READERS["q4x2"] = _q4x2_tiles
READERS |= dict.fromkeys(("q4a32", "q4a64", "q4a128"), _q4a_tiles)


def quantize_activations(x: Array, block: int) -> tuple[Array, Array]:
    """(x [tokens, n] rounded to int8 with one scale per `block`, the distance to a rounding tie [tokens]).

    The distance is the smallest `|x / scale - nearest half integer|` of the row. It is the least error of an input, in
    steps, with which it would be rounded the other way.
    """
    tokens, n = x.shape
    padded = np.zeros((tokens, -(-n // block), block))
    padded.reshape(tokens, -1)[:, :n] = x
    amax = np.abs(padded).max(-1, keepdims=True)
    steps = np.divide(padded * 127, amax, out=np.zeros_like(padded), where=amax > 0)
    tie_distance = np.abs(steps - np.floor(steps) - 0.5).reshape(tokens, -1)
    return (np.rint(steps) * amax / 127).reshape(tokens, -1)[:, :n], tie_distance.min(-1)


def rms(x: Array) -> float:
    """Root of the mean square over everything."""
    return float(np.sqrt((x * x).mean()))


class QuantizedOracle(Oracle):
    """The oracle on unpacked weights, with inputs of quantised matrices rounded to int8 as in the kernels.

    matrices: packed weights by name. exact_inputs: do not round the inputs, to see the effect of their rounding.
    tie_distance: after `logits`, per token, the smallest distance of any of its rounded inputs to a tie.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        matrices: Mapping[str, Packed],
        vectors: Mapping[str, Array],
        exact_inputs: bool = False,
    ) -> None:
        self.formats = {name: packed[0] for name, packed in matrices.items()}
        weights = {name: unpack(packed) for name, packed in matrices.items()} | dict(vectors)
        super().__init__(config, weights, linear=self._multiply)
        self.exact_inputs = exact_inputs
        self.tie_distance = np.empty(0)

    def logits(self, ids: Array) -> Array:
        self.tie_distance = np.full(len(ids), np.inf)
        return super().logits(ids)

    def _multiply(self, name: str, x: Array) -> Array:
        block = ACTIVATION_BLOCK[self.formats[name]]
        if block is not None and not self.exact_inputs:
            x, distance = quantize_activations(x, block)
            self.tie_distance = np.minimum(self.tie_distance, distance)
        return x @ self.weights[name].T
