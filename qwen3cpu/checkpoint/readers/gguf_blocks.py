"""Decodes blocks of weights in a GGUF file to float32 and, for some types, to groups of numbers.

The package `gguf` decodes all types except Q1_0 and Q2_0, which it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.gguf_types import BLOCKS
from qwen3cpu.checkpoint.weight_source import Groups
from qwen3cpu.errors import ArgumentError

PLAIN: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Types that are not quantised. Numbers in BF16 are the upper halves of float32."""
_BLOCK_BYTES: Final = {name: size for name, _, size in BLOCKS.values()}

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def dequantize(stored: Bytes, kind: str, path: Path) -> Floats:
    """Decode rows of blocks to float32 [rows, cols].

    path: of the file, for messages. Raises ArgumentError when the package `gguf` is not installed or is too old.
    """
    if kind in _OWN:
        groups = read_groups(stored, kind)
        size = groups.numbers.shape[1] // groups.scales.shape[1]
        values: Floats = np.repeat(groups.scales, size, 1) * groups.numbers + np.repeat(groups.minimums, size, 1)
        return values
    try:
        import gguf
    except ImportError:
        raise ArgumentError(
            f"{path}: weights in {kind} are read with the package gguf, which is not installed: "
            "pip install 'qwen3cpu[gguf]'"
        ) from None
    try:
        decoded = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind])
    except (KeyError, NotImplementedError):
        raise ArgumentError(
            f"{path}: weights in {kind} are not known to the installed version of the package gguf: "
            "pip install --upgrade gguf"
        ) from None
    return np.ascontiguousarray(decoded, dtype=np.float32)


# Groups: w = scale * n + minimum, with at most sixteen evenly spaced levels


def read_groups(stored: Bytes, kind: str) -> Groups:
    """Read rows of a type in GROUP_SIZES as groups. `scale * n + minimum` is exactly what `dequantize` returns."""
    blocks = stored.reshape(-1, _BLOCK_BYTES[kind])
    numbers, scales, minimums = _GROUPED[kind].read(blocks)
    rows = len(stored)
    numbers = np.ascontiguousarray(numbers.reshape(rows, -1))
    return Groups(numbers, scales.reshape(rows, -1), minimums.reshape(rows, -1))


def _half(blocks: Bytes, at: int) -> Floats:
    """Read the float16 at byte `at` of every block: float32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _fields(packed: Bytes, bits: int) -> Bytes:
    """Unpack bytes [..., n] to numbers [..., 8 / bits, n], the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    numbers: Bytes = packed[..., None, :] >> shifts & np.uint8((1 << bits) - 1)
    return numbers


def _q4_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scale = _half(blocks, 0)
    return _fields(blocks[:, 2:], 4), scale, scale * np.float32(-8)


def _q4_1(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    return _fields(blocks[:, 4:], 4), _half(blocks, 0), _half(blocks, 2)


def _q4_k(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    """Decode Q4_K: eight groups of 32 in four runs of 64 weights; scales and minimums of six bits in 12 bytes."""
    low, middle, high = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([low & 63, high & 15 | low >> 6 << 4], 1)
    minimums = np.concatenate([middle & 63, high >> 4 | middle >> 6 << 4], 1)
    numbers = _fields(blocks[:, 16:].reshape(len(blocks), 4, 32), 4)
    return (
        numbers,
        _half(blocks, 0) * scales.astype(np.float32),
        -(_half(blocks, 2) * minimums.astype(np.float32)),
    )


def _q1_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scale = _half(blocks, 0)
    return _fields(blocks[:, 2:], 1).swapaxes(1, 2), scale * np.float32(2), -scale


def _q2_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scale = _half(blocks, 0)
    return _fields(blocks[:, 2:], 2).swapaxes(1, 2), scale, -scale


def _tq2_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scale = _half(blocks, 64)
    return _fields(blocks[:, :64].reshape(len(blocks), 2, 32), 2), scale, -scale


class _Grouped(NamedTuple):
    """A type that is quantised in groups of evenly spaced levels.

    columns: of a group. bits: of a number. read: blocks -> numbers, scales, minimums, in the order of the weights.
    """

    columns: int
    bits: int
    read: Callable[[Bytes], tuple[Bytes, Floats, Floats]]


_GROUPED: Final = {
    "Q4_0": _Grouped(32, 4, _q4_0),
    "Q4_1": _Grouped(32, 4, _q4_1),
    "Q4_K": _Grouped(32, 4, _q4_k),
    "Q1_0": _Grouped(128, 1, _q1_0),
    "Q2_0": _Grouped(64, 2, _q2_0),
    "TQ2_0": _Grouped(256, 2, _tq2_0),
}
_OWN: Final = ("Q1_0", "Q2_0")
GROUP_SIZES: Final = {kind: each.columns for kind, each in _GROUPED.items()}
"""Types that `read_groups` takes -> columns of a group."""
GROUP_BITS: Final = {kind: each.bits for kind, each in _GROUPED.items()}
"""The same types -> bits of a number."""
