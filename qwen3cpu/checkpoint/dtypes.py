"""Converts values as checkpoints store them to float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import CheckpointError


def as_float32(stored: NDArray[Any]) -> NDArray[np.float32]:
    """A copy of float32 or float16 values, or of uint16 ones that are the bits of bfloat16, in float32."""
    is_bfloat16 = stored.dtype == np.uint16
    values: NDArray[np.float32]
    values = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32) if is_bfloat16 else stored.astype(np.float32)
    return values


def finite_float32(stored: NDArray[Any], tensor: str) -> NDArray[np.float32]:
    """As `as_float32`, for a vector that messages call `tensor`. Raises CheckpointError unless all are finite."""
    values = as_float32(stored)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise CheckpointError(f"{tensor}: expected finite numbers, found {values.flat[wrong[0]]} at {wrong[0]}")
    return values
