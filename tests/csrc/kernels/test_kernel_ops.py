"""Norm, rotation, activation function and quantisation of activations."""

from collections.abc import Callable

import numpy as np
import pytest
from differences import Differences
from kernel_calls import FLUSHED, ORACLE, Kernel, U, compiled, gamma, kernels

LENGTHS = [*range(1, 35), 127, 128, 129, 255, 256, 257, 300, 2048]


def normal(n: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng([seed, n]).standard_normal(n) * scale).astype(np.float32)


HOSTILE = [0.0, -0.0, 1e-38, -1e-39, 1e-45, 88.0, -88.0, 104.0, -104.0, 1e4, -1e4, 1e30, -1e30, 3.4e38]


def every(name: str) -> pytest.MarkDecorator:
    """Run a test for every function that computes an operation, including the oracle's."""
    return pytest.mark.parametrize("kernel", compiled("op", name, oracle=True), ids=str)


Operands = dict[str, list[tuple[np.ndarray, ...]]]


def ordinary(n: int) -> Operands:
    """Operation -> the operands of calls at a length."""
    x, y, angle = normal(n), normal(n, 1), normal(n, 4, 100.0)
    return {
        "rms_norm": [(x, y)],
        "silu_mul": [(normal(n, 2, 8.0), y)],
        "rope": [(normal(2 * n, 3), np.cos(angle), np.sin(angle))],
        "add": [(x, y), (x, y, normal(n, 5))],
        "add_scaled": [(x, y, np.float32(0.3))],
    }


def hostile() -> Operands:
    """Operation -> the operands of calls with values at the bounds of floats."""
    x = np.float32(HOSTILE)
    ones = np.ones_like(x)
    return {
        "rms_norm": [(x[:end].copy(), ones[:end].copy()) for end in range(1, len(x) + 1)],
        "silu_mul": [(x, ones), (x, x)],
        "rope": [(x, x[:7].copy(), x[7:].copy())],
        "add": [(x, x[::-1].copy()), (x, x, x[::-1].copy())],
        "add_scaled": [(x, x[::-1].copy(), np.float32(-3))],
    }


def run(kernel: Kernel, isa: str, operands: tuple[np.ndarray, ...]) -> np.ndarray:
    function: Callable[..., np.ndarray] = getattr(kernels, kernel.name)
    return function(isa, *operands, *([1e-6] if kernel.name == "rms_norm" else []))


@pytest.mark.parametrize("kernel", compiled("op", "rms_norm", "silu_mul", "rope", "add", "add_scaled"), ids=str)
def test_equals_oracle_at_every_length_and_on_hostile_values(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for kind, calls in [*((f"normal {n}", ordinary(n)) for n in LENGTHS), ("hostile", hostile())]:
            for operands in calls[kernel.name]:
                mine, theirs = (run(kernel, isa, operands) for isa in (kernel.isa, ORACLE))
                differences.add(mine, theirs, values=kind, length=len(operands[0]))


@every("add")
def test_add_rounds_each_step(kernel: Kernel) -> None:
    for n in LENGTHS:
        y, x, factor = normal(n), normal(n, 1), normal(n, 2)
        assert np.array_equal(kernels.add(kernel.isa, y, x), y + x)
        assert np.array_equal(kernels.add(kernel.isa, y, x, factor), (y + x) * factor)


@every("silu_mul")
def test_silu_propagates_nan_and_has_its_limits(kernel: Kernel) -> None:
    gate = np.float32([np.nan, 0.0, 3e38, -3e38, 200.0, -200.0])
    out = kernels.silu_mul(kernel.isa, gate, np.ones(6, np.float32))
    assert np.isnan(out[0])
    assert out[1] == 0
    assert out[2] == np.float32(3e38)
    assert out[4] == 200
    assert -10 <= out[3] <= 0
    assert -1e-35 < out[5] <= 0


@every("rms_norm")
def test_rms_norm_against_float64(kernel: Kernel) -> None:
    """The sum of squares errs by gamma(n / 8 + 4) (chain and tree), quotient and epsilon by one rounding each. The root
    halves this error. Root, reciprocal and the two products add one rounding each.
    """
    for n in (1, 17, 128, 2048):
        x, weight = normal(n), normal(n, 1)
        x64 = x.astype(np.float64)
        exact = x64 / np.sqrt((x64**2).sum() / n + np.float64(np.float32(1e-6))) * weight
        bound = gamma((n / 8 + 4 + 2) / 2 + 4) * np.abs(exact) + FLUSHED
        error = np.abs(kernels.rms_norm(kernel.isa, x, weight, 1e-6) - exact)
        assert (error <= bound * (1 + 1e-6)).all(), f"length {n}"


@every("rope")
def test_rope_against_float64(kernel: Kernel) -> None:
    """One rounded product and one rounded fused multiply-add: gamma(2) of the magnitudes of both terms."""
    for half in (1, 9, 64):
        x, angle = normal(2 * half), normal(half, 1, 50.0)
        cos, sin = np.cos(angle), np.sin(angle)
        a, b, c, s = (v.astype(np.float64) for v in (x[:half], x[half:], cos, sin))
        exact = np.concatenate([a * c - b * s, b * c + a * s])
        bound = gamma(2) * np.concatenate([np.abs(a * c) + np.abs(b * s), np.abs(b * c) + np.abs(a * s)]) + FLUSHED
        assert (np.abs(kernels.rope(kernel.isa, x, cos, sin) - exact) <= bound).all(), f"half {half}"


@every("silu_mul")
def test_silu_against_float64(kernel: Kernel) -> None:
    """The exponential errs by 4 u (2 ulp). Adding 1, the division and the product add one rounding each."""
    gate, up = np.linspace(-80, 80, 4001).astype(np.float32), normal(4001)
    exact = gate.astype(np.float64) / (1 + np.exp(-gate.astype(np.float64))) * up
    assert (np.abs(kernels.silu_mul(kernel.isa, gate, up) - exact) <= gamma(7) * np.abs(exact) + FLUSHED).all()


# ---- routing


def routed(kernel: str, logits: np.ndarray, chosen: int, normalised: bool) -> tuple[np.ndarray, np.ndarray]:
    """(experts, weights) by the kernel of an instruction set."""
    experts, weights = kernels.route(kernel, logits, chosen, normalised)
    return experts, weights


@pytest.mark.parametrize("kernel", compiled("op", "route"), ids=str)
def test_routing_equals_oracle(kernel: Kernel) -> None:
    hostile = [np.float32(HOSTILE), np.float32([np.nan, 1, np.inf, 2, np.nan]), np.full(9, -np.inf, np.float32)]
    with Differences(kernel) as differences:
        for logits in [*(normal(n, 7, 3.0) for n in LENGTHS), *hostile]:
            for chosen in {1, min(2, len(logits)), min(8, len(logits)), len(logits)}:
                for normalised in (True, False):
                    mine, theirs = (routed(isa, logits, chosen, normalised) for isa in (kernel.isa, ORACLE))
                    differences.add(mine[0], theirs[0], length=len(logits), chosen=chosen)
                    differences.add(mine[1], theirs[1], length=len(logits), chosen=chosen, normalised=normalised)


@every("route")
def test_routing_takes_the_largest_logits(kernel: Kernel) -> None:
    """Weights against float64: exponential, sum of n terms, quotient, and the sum and quotient that normalise."""
    for n in (5, 16, 128):
        for chosen in (1, 3, 5):
            logits = normal(n, 9, 3.0)
            largest = np.sort(np.argsort(-logits, kind="stable")[:chosen])
            shares = np.exp(logits.astype(np.float64) - logits.max())
            shares /= shares.sum()
            for normalised in (True, False):
                experts, weights = routed(kernel.isa, logits, chosen, normalised)
                assert experts.tolist() == largest.tolist()
                exact = shares[largest] / (shares[largest].sum() if normalised else 1)
                assert (np.abs(weights - exact) <= gamma(2 * (4 + n / 8 + 4)) * exact + FLUSHED).all()


@every("route")
def test_of_equal_logits_the_lower_index_is_chosen(kernel: Kernel) -> None:
    logits = np.float32([1, 2, 2, 0, 2, 1, 2, -0.0])
    assert routed(kernel.isa, logits, 3, True)[0].tolist() == [1, 2, 4]
    assert routed(kernel.isa, logits, 5, True)[0].tolist() == [0, 1, 2, 4, 6]
    assert routed(kernel.isa, logits, 7, True)[0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert routed(kernel.isa, np.zeros(40, np.float32), 2, True)[0].tolist() == [0, 1]
    assert routed(kernel.isa, np.zeros(40, np.float32), 2, True)[1].tolist() == [0.5, 0.5]


@every("route")
def test_routing_of_what_is_not_a_number(kernel: Kernel) -> None:
    experts, weights = routed(kernel.isa, np.float32([np.nan, 1, 3, np.nan, 2]), 2, True)
    assert experts.tolist() == [2, 4]
    assert np.isnan(weights).all()
    assert routed(kernel.isa, np.full(6, np.nan, np.float32), 3, False)[0].tolist() == [0, 1, 2]


# ---- quantisation of activations


every_quantize = pytest.mark.parametrize(
    "kernel", compiled("op", "quantize_i8g32", "quantize_i8g256", oracle=True), ids=str
)


def block_of(kernel: Kernel) -> int:
    """Columns that share a scale."""
    return {"quantize_i8g32": 32, "quantize_i8g256": 256}[kernel.name]


def quantize(kernel: Kernel, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 [tokens, columns padded], scales and sums of inputs [tokens, columns]."""
    q, scale, total = kernels.quantize(kernel.isa, f"i8g{block_of(kernel)}", x)
    return q, scale, total


def quantized(x: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The result of QuantizeFn's contract for ordinary values, one float operation at a time."""
    n = len(x)
    stride = -(-n // 32) * 32
    q, scale = np.zeros(stride, np.int8), np.zeros(-(-n // block), np.float32)
    for b in range(len(scale)):
        part = x[b * block : (b + 1) * block]
        amax = np.abs(part).max()
        if amax > np.float32(3.8e-37):
            scale[b] = amax / np.float32(127)
            q[b * block : b * block + len(part)] = np.rint(part * (np.float32(127) / amax))
    return q, scale, q.reshape(-1, 32).sum(1, dtype=np.int16)


@every_quantize
def test_quantize_follows_its_contract(kernel: Kernel) -> None:
    with Differences(kernel) as differences:
        for n in LENGTHS:
            x = normal(n, 5, 3.0)
            x[n // 2] *= 40
            parts = zip(("q", "scale", "sum"), quantize(kernel, x[None]), quantized(x, block_of(kernel)), strict=True)
            for part, mine, wanted in parts:
                differences.add(mine[0], wanted, length=n, part=part)


@every_quantize
def test_quantize_multiplies_with_the_reciprocal(kernel: Kernel) -> None:
    """Enough values for some that another order of the same operations would round the other way."""
    x = normal(1 << 20, 8).reshape(-1, block_of(kernel))
    q, scale, _ = quantize(kernel, x)
    amax = np.abs(x).max(1, keepdims=True)
    assert (q == np.rint(x * (np.float32(127) / amax))).all()
    assert (scale == amax / np.float32(127)).all()


@every_quantize
def test_quantize_is_within_half_a_step(kernel: Kernel) -> None:
    """|x - scale q| <= scale / 2 from rounding q, plus the roundings of scale, of 127 / amax and of the product, each
    relative to |scale q| <= 127 scale.
    """
    x = normal(1000, 6)
    q, scale, _ = quantize(kernel, x[None])
    step = np.repeat(scale[0].astype(np.float64), block_of(kernel))[:1000]
    error = np.abs(x - step * q[0, :1000])
    assert (error <= step * (0.5 + 127 * gamma(3))).all()
    assert np.abs(q).max() == 127


@every_quantize
def test_quantize_rounds_halves_to_even(kernel: Kernel) -> None:
    x = np.zeros((1, 256), np.float32)
    x[0, ::32] = 127  # the scale of every block is 1
    x[0, 1:9] = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5]
    q = quantize(kernel, x)[0]
    assert q[0, 1:9].tolist() == [0, 2, 2, 0, -2, -2, 126, -126]


@every_quantize
def test_quantize_of_blocks_without_a_usable_scale(kernel: Kernel) -> None:
    x, block = np.ones((4, 512), np.float32), block_of(kernel)
    x[0, :block] = 0
    x[1, :block] = 1e-39
    x[2, 7] = np.nan
    x[3, 7] = -np.inf
    q, scale, total = quantize(kernel, x)
    assert (q[:, :block] == 0).all()
    assert (total[:, : block // 32] == 0).all()
    assert scale[0, 0] == 0
    assert scale[1, 0] == 0
    assert np.isnan(scale[2, 0])
    assert scale[3, 0] == np.inf
    assert (q[:, block:] == 127).all()
    assert np.allclose(scale[:, 1:], 1 / 127, rtol=2 * U)
