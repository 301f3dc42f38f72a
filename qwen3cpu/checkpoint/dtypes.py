"""Converts between float32 and the dtypes in which checkpoints store values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import CheckpointError


def as_float32(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return a float32 copy of float32 or float16 values, or of uint16 values that are the bits of bfloat16."""
    is_bfloat16 = stored.dtype == np.uint16
    values: NDArray[np.float32]
    values = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32) if is_bfloat16 else stored.astype(np.float32)
    return values


def finite_float32(stored: NDArray[Any], tensor: str) -> NDArray[np.float32]:
    """Convert as `as_float32` does. Raises CheckpointError, which names `tensor`, unless all values are finite."""
    values = as_float32(stored)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise CheckpointError(f"{tensor}: expected finite numbers, found {values.flat[wrong[0]]} at {wrong[0]}")
    return values


def as_dtype(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert float32 values to float32, float16, or the bits of bfloat16 (uint16): to nearest, ties to even.

    Raises OverflowError when a value is too large for the dtype, or not finite.
    """
    if dtype == np.float32:
        stored: NDArray[Any] = values
    elif dtype == np.float16:
        with np.errstate(over="ignore"):
            stored = values.astype(np.float16)
    else:
        bits = np.ascontiguousarray(values).view(np.uint32)
        stored = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
            np.uint16
        )
    wrong = np.flatnonzero(~np.isfinite(as_float32(stored)))
    if wrong.size:
        name = "bfloat16" if dtype == np.uint16 else dtype.name
        raise OverflowError(f"expected a number that {name} can hold, found {values.reshape(-1)[wrong[0]]}")
    return stored
