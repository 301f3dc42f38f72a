"""Unpacks numbers of 2 to 8 bits that follow one another in a run of bits, lowest bit first.

All libraries pack numbers in this way. An int32 in a little-endian file is four such bytes, so words are read as bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unpack_fields(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Unpack the numbers in the runs of bits along the last axis.

    Args:
        packed: uint8 [..., bytes]. Each run has at least `count * bits` bits.
        bits: bits of a number, 2 to 8.
        count: numbers in each run.

    Returns:
        uint8 [..., count].
    """
    if bits == 8:
        return packed[..., :count]
    if bits in (2, 4):
        split = np.empty((*packed.shape, 8 // bits), np.uint8)
        for place in range(8 // bits):
            split[..., place] = (packed >> np.uint8(place * bits)) & np.uint8((1 << bits) - 1)
        return split.reshape(*packed.shape[:-1], -1)[..., :count]
    # Eight numbers are `bits` bytes, which are read as one integer.
    runs = -(-count // 8)
    padded = np.zeros((*packed.shape[:-1], runs * bits), np.uint8)
    size = min(packed.shape[-1], runs * bits)
    padded[..., :size] = packed[..., :size]
    wide = np.zeros((*packed.shape[:-1], runs, 8), np.uint8)
    wide[..., :bits] = padded.reshape(*packed.shape[:-1], runs, bits)
    integers = wide.view("<u8")
    shifts = np.arange(0, 8 * bits, bits, dtype=np.uint64)
    numbers: NDArray[np.uint8] = ((integers >> shifts) & np.uint64((1 << bits) - 1)).astype(np.uint8)
    found: NDArray[np.uint8] = numbers.reshape(*packed.shape[:-1], -1)[..., :count]
    return found


def word_bytes(words: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return the bytes of integers [..., n], in the order of a little-endian file: uint8 [..., n * size]."""
    return np.ascontiguousarray(words).view(np.uint8)
