"""Random weights in the types that packing takes, and the error of what comes back."""

import numpy as np

SOURCES = ["float32", "float16", "bfloat16"]


def to_bf16_bits(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of every float32, ties to even, by comparing both neighbours in float64."""
    low = (x.view(np.uint32) >> 16).astype(np.uint32)
    below, above = ((low + i).astype(np.uint32) << 16 for i in (0, 1))
    to_below, to_above = (np.abs(x.astype(np.float64) - b.view(np.float32)) for b in (below, above))
    up = (to_above < to_below) | ((to_above == to_below) & (low % 2 == 1))
    return (low + up).astype(np.uint16)


def from_bf16_bits(bits: np.ndarray) -> np.ndarray:
    """float32 of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def source(kind: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(array to pack, its values in float32)."""
    if kind == "float16":
        half = x.astype(np.float16)
        return half, half.astype(np.float32)
    if kind == "bfloat16":
        bits = to_bf16_bits(x)
        return bits, from_bf16_bits(bits)
    return x, x


def gaussian(n_rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Random weights of a usual size, float32 [n_rows, cols]."""
    return (np.random.default_rng([seed, n_rows, cols]).standard_normal((n_rows, cols)) * 0.03).astype(np.float32)


def decibels(weights: np.ndarray, back: np.ndarray) -> float:
    """The squared error of unpacked weights, relative to the squared weights."""
    error = weights.astype(np.float64) - back
    return float(10 * np.log10((error**2).sum() / (weights.astype(np.float64) ** 2).sum()))
