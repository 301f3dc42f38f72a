"""Tables of floats that NumPy has no type for, and rounding to the type that a library computes in."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def _small_floats(exponent_bits: int, mantissa_bits: int, bias: int) -> Floats:
    """Return the value of every bit pattern of a signed float without infinities and NaN: float32 [2 ** bits]."""
    patterns = np.arange(1 << (1 + exponent_bits + mantissa_bits))
    mantissa = patterns & ((1 << mantissa_bits) - 1)
    exponent = (patterns >> mantissa_bits) & ((1 << exponent_bits) - 1)
    fraction = mantissa / (1 << mantissa_bits) + (exponent > 0)
    values = np.ldexp(fraction, np.maximum(exponent, 1) - bias)
    found: Floats = np.where(patterns >> (exponent_bits + mantissa_bits), -values, values).astype(np.float32)
    return found


def _e4m3() -> Floats:
    values = _small_floats(4, 3, 7)
    values[[0x7F, 0xFF]] = np.nan
    return values


def _e5m2() -> Floats:
    values = _small_floats(5, 2, 15)
    for sign in (0x00, 0x80):
        values[sign + 0x7C] = -np.inf if sign else np.inf
        values[sign + 0x7D : sign + 0x80] = np.nan
    return values


def _e8m0() -> Floats:
    return np.append(np.ldexp(1.0, np.arange(255) - 127), np.nan).astype(np.float32)


E2M1: Final = _small_floats(2, 1, 1)
"""FP4 of the OCP microscaling formats: float32 [16]."""
E4M3: Final = _e4m3()
"""FP8 without infinities ("float8_e4m3fn"): float32 [256]."""
E5M2: Final = _e5m2()
"""FP8 with infinities: float32 [256]."""
E8M0: Final = _e8m0()
"""Powers of two, the scales of the microscaling formats: float32 [256]."""

FP8: Final = {"F8_E4M3": E4M3, "F8_E5M2": E5M2}
"""dtype of safetensors -> table of values."""


def rounded(values: Floats, dtype: str) -> Floats:
    """Round float32 values to a dtype of safetensors (BF16, F16; F32 changes nothing), to nearest, ties to even.

    A value that is too large becomes infinite, which packing refuses. `values` may be changed in place.
    """
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        no_number = np.isnan(values)
        bits = values.view(np.uint32)
        bits += ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
        bits &= np.uint32(0xFFFF0000)
        values[no_number] = np.nan
    return values
