"""Packing to q8: its error, the weights that lose nothing, and those that it cannot hold."""

import numpy as np
import pytest
from kernel_calls import U, pack, unpack
from weight_sources import SOURCES, decibels, gaussian, source

from qwen3cpu.errors import EngineError


@pytest.mark.parametrize("kind", SOURCES)
def test_q8_is_within_half_a_step(kind: str) -> None:
    """The step is at most the group's largest weight / 119, rounded up to a half, which is at most 1 + 2^-10 times as
    much. The quotient is rounded twice (reciprocal and product), relative to at most 127 steps.
    """
    for n_rows, cols in [(8, 32), (13, 77), (24, 300)]:
        array, values = source(kind, gaussian(n_rows, cols))
        back = unpack("q8", pack("q8", array), n_rows, cols)
        for first in range(0, cols, 32):
            group = values[:, first : first + 32].astype(np.float64)
            step = np.abs(group).max(1, keepdims=True) / 119 * (1 + 2.0**-10)
            error = np.abs(group - back[:, first : first + 32])
            assert (error <= step * (0.5 + 127 * 2 * U)).all(), f"{n_rows} x {cols}, columns from {first}"


def test_q8_of_small_weights_is_within_half_the_least_half() -> None:
    """Below 2^-14 halves are 2^-24 apart, so a scale is rounded up by at most this."""
    weights = gaussian(8, 64) * np.float32(1e-4)
    back = unpack("q8", pack("q8", weights), 8, 64)
    step = np.abs(weights).max() / 119 + 2.0**-24
    assert (np.abs(weights.astype(np.float64) - back) <= step * 0.5001).all()


@pytest.mark.parametrize("kind", SOURCES)
def test_q8_reaches_its_target_on_gaussian_weights(kind: str) -> None:
    """The best of 17 scales per 32 gets -46.4 dB; rounding to amax / 127 would get -45.4."""
    array, values = source(kind, gaussian(64, 2048))
    assert decibels(values, unpack("q8", pack("q8", array), 64, 2048)) < -46.3


def test_q8_of_what_had_127_levels_before_is_exact() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(-127, 128, (16, 4, 32))
    levels[..., 5] = 127
    scales = rng.uniform(1e-4, 1e-2, (16, 4, 1)).astype(np.float16).astype(np.float32)
    weights = (levels * scales).astype(np.float32).reshape(16, 128)
    assert (unpack("q8", pack("q8", weights), 16, 128) == weights).all()


def test_q8_of_multiples_of_a_step_is_exact() -> None:
    """Whatever multiple is the largest, from 1 to 127; a row in each tile has no step and is rounded as alone."""
    rng = np.random.default_rng(1)
    for most in range(1, 128):
        levels = rng.integers(-most, most + 1, (8, 32))
        levels[:, 7] = -most
        weights = (levels * rng.uniform(1e-4, 1e-2, (8, 1)).astype(np.float16)).astype(np.float32)
        weights[3] = rng.standard_normal(32)
        back = unpack("q8", pack("q8", weights), 8, 32)
        assert (np.delete(back, 3, 0) == np.delete(weights, 3, 0)).all(), most
        assert (back[3] == unpack("q8", pack("q8", weights[3:4]), 1, 32)[0]).all(), most


def test_q8_keeps_weights_whose_coarser_scales_no_half_can_hold() -> None:
    weights = np.full((8, 32), 127 * 65504, np.float32) * np.linspace(-1, 1, 32, dtype=np.float32)
    back = unpack("q8", pack("q8", weights), 8, 32)
    assert np.abs(weights - back).max() <= 65504 * 0.5001


def test_what_q8_cannot_scale_is_refused() -> None:
    weights = gaussian(8, 32)
    weights[4, 9] = 8.4e6  # above 127 * 65504
    with pytest.raises(EngineError, match=r"4.*9"):
        pack("q8", weights)
