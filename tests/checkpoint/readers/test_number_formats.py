"""Runs of bits and small floats, compared with slower implementations of their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoints import bfloat16_bits, bfloat16_values

from qwen3cpu.checkpoint.readers.bit_fields import unpack_fields, word_bytes
from qwen3cpu.checkpoint.readers.number_formats import E2M1, E4M3, E5M2, E8M0, rounded


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 31, 32, 96])
def test_runs_of_bits(bits: int, count: int) -> None:
    size = -(-count * bits // 32) * 4
    packed = np.random.default_rng(bits).integers(0, 256, (2, 3, size), np.uint8)
    expected = np.empty((2, 3, count), np.uint8)
    for place in np.ndindex(2, 3):
        run = int.from_bytes(packed[place].tobytes(), "little")
        expected[place] = [run >> (bits * each) & ((1 << bits) - 1) for each in range(count)]
    np.testing.assert_array_equal(unpack_fields(packed, bits, count), expected)
    words = packed.view("<i4")
    np.testing.assert_array_equal(unpack_fields(word_bytes(words), bits, count), expected)


def decoded(pattern: int, exponent_bits: int, mantissa_bits: int) -> float:
    """Decode a float as IEEE 754 defines it: sign, exponent with half its range as bias, fraction."""
    bias = (1 << (exponent_bits - 1)) - 1
    fraction = pattern % (1 << mantissa_bits)
    exponent = pattern >> mantissa_bits & ((1 << exponent_bits) - 1)
    sign = -1.0 if pattern >> (mantissa_bits + exponent_bits) else 1.0
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias - mantissa_bits)
    return sign * ((1 << mantissa_bits) + fraction) * 2.0 ** (exponent - bias - mantissa_bits)


def test_small_floats() -> None:
    assert E2M1.tolist() == [decoded(each, 2, 1) for each in range(16)]
    assert E2M1[:8].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    finite = [each for each in range(256) if each & 0x7F != 0x7F]
    assert E4M3[finite].tolist() == [decoded(each, 4, 3) for each in finite]
    assert np.isnan(E4M3[[0x7F, 0xFF]]).all()
    finite = [each for each in range(256) if each & 0x7F < 0x7C]
    assert E5M2[finite].tolist() == [decoded(each, 5, 2) for each in finite]
    assert E5M2[[0x7C, 0xFC]].tolist() == [np.inf, -np.inf]
    assert np.isnan(E5M2[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]]).all()
    assert E8M0[:255].tolist() == [2.0 ** (each - 127) for each in range(255)]
    assert np.isnan(E8M0[255])


def test_rounding() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    values[:4] = [0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8]  # the last two lie between two bfloat16
    np.testing.assert_array_equal(rounded(values.copy(), "BF16"), bfloat16_values(bfloat16_bits(values)))
    np.testing.assert_array_equal(rounded(values.copy(), "F16"), values.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(rounded(values.copy(), "F32"), values)
    wide = np.array([np.nan, np.inf, -np.inf, 3.4e38, 7e4], np.float32)
    np.testing.assert_array_equal(rounded(wide.copy(), "BF16")[:4], [np.nan, np.inf, -np.inf, np.inf])
    np.testing.assert_array_equal(rounded(wide.copy(), "F16"), [np.nan, np.inf, -np.inf, np.inf, np.inf])
