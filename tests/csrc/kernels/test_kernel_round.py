"""Rounding to q4 with feedback: every instruction set against the scalar kernel.

tests/csrc/rounding/test_rounding.py checks the results of the scalar kernel.
"""

import numpy as np
import pytest
from differences import Differences
from kernel_calls import ORACLE, Kernel, compiled, kernels

ROWS = 16
PARTS = ("q", "scale", "zero", "rest")
"""The results of the kernels."""


def problem(n: int) -> tuple[np.ndarray, ...]:
    """u, importance, row_scale and w for RoundQ4Fn."""
    rng = np.random.default_rng(n)
    u = np.triu(rng.standard_normal((n, n)) * 0.1, 1) + np.eye(n)
    importance = np.exp(-3 * rng.random(n))
    row_scale = np.exp(rng.standard_normal(ROWS) * 0.5) * 1e-4
    w = rng.standard_normal((n, ROWS)) * 0.05
    w[rng.random(w.shape) < 0.02] *= 20
    return tuple(np.ascontiguousarray(each, np.float32) for each in (u, importance, row_scale, w))


every_kernel = pytest.mark.parametrize("kernel", compiled("round", oracle=True), ids=str)


def run(name: str, isa: str, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """(q, scale, zero, rest)."""
    return tuple(getattr(kernels, f"round_{name}")(isa, *arrays))


@pytest.mark.parametrize("kernel", compiled("round"), ids=str)
def test_equal_oracle(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for n in (32, 64, 160, 192, 256):
            mine, theirs = (run(kernel.name, isa, *problem(n)) for isa in (kernel.isa, ORACLE))
            for part, found, expected in zip(PARTS, mine, theirs, strict=True):
                differences.add(found, expected, columns=n, part=part)


@every_kernel
def test_a_row_depends_on_nothing_but_itself(kernel: Kernel) -> None:
    u, importance, row_scale, w = problem(96)
    together = run(kernel.name, kernel.isa, u, importance, row_scale, w)
    order = np.random.default_rng(0).permutation(ROWS)
    shuffled = (u, importance, row_scale[order].copy(), np.ascontiguousarray(w[:, order]))
    with Differences(kernel) as differences:
        for part, found, expected in zip(PARTS, run(kernel.name, kernel.isa, *shuffled), together, strict=True):
            differences.add(found, expected[:, order], part=part)


@every_kernel
def test_what_is_left_is_what_the_levels_do_not_hold(kernel: Kernel) -> None:
    """Without correlations: w - scale * q, |q| at its bounds where the weights are beyond them."""
    _, importance, row_scale, w = problem(64)
    q, scale, zero, rest = run(kernel.name, kernel.isa, np.eye(64, dtype=np.float32), importance, row_scale, w)
    step = np.repeat(scale.astype(np.float64), 32, axis=0) * 8 * row_scale
    moved = 3 / 8 * np.repeat(zero.astype(np.float64), 32, axis=0)
    # v has its own rounding and that of 1 / step, so the rest is wrong by at most these shares.
    wrong = 4 * 2.0**-24 * (np.abs(w) + 16 * step) + 2.0**-24 * np.abs(rest)
    assert (np.abs(rest - (w - (q + moved) * step)) <= wrong).all()
    assert (q == np.clip(np.rint(w / step - moved), -8, 7)).mean() > 0.999
    assert ((scale >= 1) & (scale <= 15) & (zero >= -7) & (zero <= 8)).all()
