"""Packing into q4a: levels from the least weight of a group to the largest, and levels of other quantisers."""

import numpy as np
import pytest
import quantized_oracle
from kernel_calls import aligned, pack, unpack

from qwen3cpu import _native
from qwen3cpu.errors import EngineError

AFFINE = ("q4a32", "q4a64", "q4a128")


@pytest.mark.parametrize("weight_format", AFFINE)
def test_q4a_reaches_from_the_least_weight_of_a_group_to_the_largest(weight_format: str) -> None:
    group = int(weight_format.removeprefix("q4a"))
    weights = np.random.default_rng(0).standard_normal((11, 600), np.float32)
    back = unpack(weight_format, pack(weight_format, weights), 11, 600)
    for first in range(0, 600, group):
        mine, its = weights[:, first : first + group], back[:, first : first + group]
        step = (mine.max(1) - mine.min(1)) / 15
        assert (its.min(1) == mine.min(1)).all()
        assert (np.abs(its - mine) <= 0.5001 * step[:, None]).all()


@pytest.mark.parametrize("weight_format", AFFINE)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_weights_in_sixteen_levels_are_written_as_they_are(weight_format: str, times: int) -> None:
    """With groups of one or more of the format's groups, odd counts of rows and columns, in pieces, on any threads."""
    group, rows, cols = times * int(weight_format.removeprefix("q4a")), 43, 840
    rng = np.random.default_rng(times)
    n = rng.integers(0, 16, (rows, cols), np.uint8)
    scale, minimum = rng.standard_normal((2, rows, -(-cols // group))).astype(np.float32)
    packed = aligned(_native.matrix_bytes(weight_format, rows, cols))
    packed[:] = 0xA5
    for first, last in [(40, 43), (0, 16), (16, 40)]:
        piece = (each[first:last] for each in (n, scale, minimum))
        _native.write_affine_into(weight_format, *piece, group, packed, rows, first, 2)
    wide = (np.repeat(each, group, 1)[:, :cols].astype(np.float64) for each in (scale, minimum))
    exact = n * next(wide) + next(wide)
    assert (unpack(weight_format, packed, rows, cols) == exact.astype(np.float32)).all()
    assert (quantized_oracle.unpack((weight_format, rows, cols, packed)) == exact).all()


def test_levels_that_are_none_are_refused() -> None:
    n, one = np.zeros((8, 64), np.uint8), np.ones((8, 2), np.float32)
    room = aligned(_native.matrix_bytes("q4a32", 8, 64))
    with pytest.raises(EngineError, match="0 to 15"):
        _native.write_affine_into("q4a32", n + 16, one, one, 32, room, 8, 0, 1)
    for bad in (np.nan, np.inf):
        wrong = one.copy()
        wrong[3, 1] = bad
        with pytest.raises(EngineError, match="group 1 of row 3: expected a finite scale"):
            _native.write_affine_into("q4a32", n, wrong, one, 32, room, 8, 0, 1)
        with pytest.raises(EngineError, match="group 1 of row 3: expected a finite scale"):
            _native.write_affine_into("q4a32", n, one, wrong, 32, room, 8, 0, 1)
    for name, group in (("q4a64", 32), ("q4a32", 48), ("q4", 32)):
        with pytest.raises(EngineError, match="whole ones of q4a32"):
            _native.write_affine_into(name, n, one, one, group, room, 8, 0, 1)
    with pytest.raises(EngineError, match=r"scales and minima \[8, 1\]"):
        _native.write_affine_into("q4a64", n, one, one, 64, aligned(_native.matrix_bytes("q4a64", 8, 64)), 8, 0, 1)
