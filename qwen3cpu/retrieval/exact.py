"""Sums over hidden states that are the same on every machine, and a check that all values are finite.

Products of float32 are exact in float64, and `fsum` adds exactly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import EngineError


def dot(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the sum of products of two vectors, rounded once."""
    return math.fsum((first.astype(np.float64) * second.astype(np.float64)).tolist())


def norm(vector: NDArray[np.float32]) -> float:
    """Return the Euclidean length of a vector."""
    return math.sqrt(dot(vector, vector))


def check_finite(state: NDArray[np.float32]) -> None:
    """Raise EngineError for a hidden state with NaN or an infinity: a value left the range of its format."""
    wrong = np.flatnonzero(~np.isfinite(state))
    if len(wrong):
        raise EngineError(
            f"hidden state: expected finite numbers, found {state[wrong[0]]} at {wrong[0]}; "
            "where a value is beyond the 65,504 of an f16 KV cache, kv='f32' or 'q8' helps"
        )
