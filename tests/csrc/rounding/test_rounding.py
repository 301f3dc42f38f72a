"""Error-compensating rounding against a slow oracle from first principles, and its gain over plain rounding."""

import numpy as np
import pytest
from native_models import pack
from quantized_oracle import unpack

from qwen3cpu import _native
from qwen3cpu.errors import EngineError
from qwen3cpu.quantization.gptq import InputMoments, Rounding, inverse_factor, round_matrix, second_moments

DEFAULT = Rounding()
SIZES = [(8, 32), (24, 256), (5, 77), (40, 300), (16, 576)]


def problem(rows, cols, seed=0):
    """(weights, inputs): correlated inputs of very different sizes, as in a layer."""
    rng = np.random.default_rng([seed, rows, cols])
    weights = (rng.standard_normal((rows, cols)) * 0.05).astype(np.float32)
    few = max(cols // 6, 2)
    inputs = rng.standard_normal((3 * cols, few)) @ rng.standard_normal((few, cols))
    inputs = (inputs + 0.3 * rng.standard_normal(inputs.shape)) * np.exp(rng.standard_normal(cols))
    return weights, inputs.astype(np.float32)


def rounded(weights, moments, rounding=DEFAULT, threads=1):
    """(report of round_matrix, its bytes)."""
    size = _native.matrix_bytes("q4", *weights.shape)
    out = np.full(size, 0xA5, np.uint8)
    return round_matrix(weights, InputMoments(moments, rounding), out, threads=threads), out


def loss(change, moments):
    """tr(E M E')."""
    return float(np.einsum("ij,jk,ik->", change, moments.astype(np.float64), change, optimize=True))


def levels_of(packed, rows, cols):
    """(step, offset), [rows, groups] each, read by csrc/layout/format.h: weights are step * (n - 8 + offset)."""
    tiles, groups = -(-rows // 8), -(-cols // 32)
    row_scales = packed[-tiles * 32 :].copy().view("<f4").astype(np.float64)
    blocks = packed[: -tiles * 32].reshape(tiles, -1)
    both = np.zeros((tiles * 8, groups), np.uint8)
    for group in range(groups):
        at = group // 8 * (64 + 8 * 128) + group % 8 * 8
        both[:, group] = blocks[:, at : at + 8].reshape(-1)
    step, offset = 8.0 * (both & 15) * row_scales[:, None], 3 / 8 * ((both >> 4) - 7.0)
    return step[:rows], offset[:rows]


def with_damping(moments, damping):
    """Moments plus a share of their mean, in float64."""
    return moments.astype(np.float64) + damping * moments.diagonal().mean(dtype=np.float64) * np.eye(len(moments))


def column_order(moments, largest_first):
    """Groups by the sum of their moments, columns in a group by their own, largest first."""
    cols, size = len(moments), moments.diagonal()
    groups = [np.arange(first, min(first + 32, cols)) for first in range(0, cols, 32)]
    if largest_first:
        groups = [group[np.argsort(-size[group], kind="stable")] for group in groups]
        groups.sort(key=lambda group: -float(size[group].astype(np.float64).sum()))
    return np.concatenate(groups)


@pytest.mark.parametrize("largest_first", [True, False])
@pytest.mark.parametrize(("rows", "cols"), SIZES)
def test_every_column_is_rounded_where_the_later_ones_have_made_up_best(rows, cols, largest_first):
    # The definition: each weight is rounded where the loss is least, given the weights that are already rounded, while
    # all later weights are free. The oracle solves this in float64 at every column, with the scales of the packed
    # matrix.
    weights, inputs = problem(rows, cols)
    moments = second_moments(inputs)
    _, packed = rounded(weights, moments, Rounding(0.05, largest_first))
    found, (steps, offsets) = unpack(("q4", rows, cols, packed)), levels_of(packed, rows, cols)
    damped = with_damping(moments, 0.05)
    change = np.zeros((rows, cols))
    order = column_order(moments, largest_first)
    for turn, column in enumerate(order):
        done, free = order[:turn], order[turn:]
        best = weights[:, free].astype(np.float64)
        if turn:
            best -= np.linalg.solve(damped[np.ix_(free, free)], damped[np.ix_(free, done)] @ change[:, done].T).T
        step, offset = steps[:, column // 32], offsets[:, column // 32]
        exact = np.divide(best[:, 0], step, out=np.zeros(rows), where=step != 0) - offset
        levels = np.divide(found[:, column], step, out=np.zeros(rows), where=step != 0) - offset
        # Float32 sums of a few hundred terms change the value before rounding by less than a hundredth of a step.
        assert (np.abs(levels - np.clip(exact, -8, 7)) <= 0.51).all()
        change[:, column] = found[:, column] - weights[:, column]


@pytest.mark.parametrize("largest_first", [True, False])
@pytest.mark.parametrize(("rows", "cols"), SIZES)
def test_the_loss_is_as_reported_and_below_that_of_plain_rounding(rows, cols, largest_first):
    weights, inputs = problem(rows, cols)
    moments = second_moments(inputs)
    reported, packed = rounded(weights, moments, Rounding(0.01, largest_first))
    plain = unpack(pack("q4", weights)) - weights
    change = unpack(("q4", rows, cols, packed)) - weights
    damped = with_damping(moments, 0.01)
    assert loss(change, moments) < 0.5 * loss(plain, moments)
    assert reported == pytest.approx(loss(change, damped), rel=1e-3)


def test_the_scale_and_the_zero_are_the_best_of_those_tried():
    # One group without feedback from others, in float64. First the best of five zeros without feedback is searched for
    # each of eight scales, and the best of each two scales that are four apart. These four, and the zeros next to the
    # best of them, are then tried with feedback.
    rows, cols = 64, 32
    weights, inputs = problem(rows, cols, seed=4)
    moments = second_moments(inputs)
    reported, packed = rounded(weights, moments, Rounding(0.01, False))
    factor = inverse_factor(with_damping(moments, 0.01))
    units = 8 * packed[-rows * 4 :].copy().view("<f4").astype(np.float64)
    diagonal = factor.diagonal()

    def loss_of(scale, zero, feedback=True):
        w, total = weights.astype(np.float64), np.zeros(rows)
        for column in range(cols):
            exact = w[:, column] / (scale * units) - 3 / 8 * zero
            error = (exact - np.clip(np.rint(exact), -8, 7)) * scale * units / diagonal[column]
            if feedback:
                w -= error[:, None] * np.where(np.arange(cols) > column, factor[column], 0)
            total += error**2
        return total

    def best_of(tried, feedback):
        return tried[np.argmin([loss_of(*each, feedback) for each in tried], 0), :, np.arange(rows)].T

    low, high = weights.min(1) / units, weights.max(1) / units
    widest = 1.1 * np.max([(high - low) / 15, high / 10, -low / 10.625], 0)
    scales = [np.maximum(np.clip(np.rint(widest + 0.5), 1, 15) - i, 1) for i in range(8)]
    tried = []
    for scale in scales:
        nearest = np.rint(((low + high) / 2 / scale + 0.5) * 8 / 3)
        tried.append(best_of(np.array([(scale, np.clip(nearest + i, -7, 8)) for i in range(-2, 3)]), feedback=False))
    tried = [best_of(np.array(tried[first::4]), feedback=False) for first in range(4)]
    scale, zero = best_of(np.array(tried), feedback=True)
    tried += [(scale, np.clip(zero - 1, -7, 8)), (scale, np.clip(zero + 1, -7, 8))]
    assert reported == pytest.approx(np.min([loss_of(*each) for each in tried], 0).sum(), rel=1e-4)


def test_a_weight_that_is_alone_on_its_side_of_zero_is_reached():
    """The levels reach a third less far on one side of zero than from end to end. The weight must not lose this."""
    weights = (np.random.default_rng(0).standard_normal((16, 256)) * 0.01).astype(np.float32)
    weights[:8, 100], weights[8:, 100] = 1.0, -1.0
    _, packed = rounded(weights, np.eye(256, dtype=np.float32))
    assert (np.abs(unpack(("q4", 16, 256, packed)) - weights)[:, 100] < 0.1).all()


def test_uncorrelated_inputs_leave_nothing_to_make_up_for():
    weights, _ = problem(16, 64)
    _, packed = rounded(weights, np.eye(64, dtype=np.float32))
    steps, offsets = (np.repeat(each, 32, axis=1) for each in levels_of(packed, 16, 64))
    levels = np.clip(np.rint(weights / steps - offsets), -8, 7)
    assert unpack(("q4", 16, 64, packed)) == pytest.approx((levels + offsets) * steps, rel=1e-12, abs=0)


def test_threads_change_nothing():
    weights, inputs = problem(40, 300)
    moments = second_moments(inputs)
    first, *others = (rounded(weights, moments, threads=n) for n in (1, 2, 3))
    for reported, packed in others:
        assert reported == first[0]
        assert (packed == first[1]).all()


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_weights_may_be_of_any_stored_type_and_order(stored):
    rows, cols = 21, 96
    weights, inputs = problem(rows, cols)
    if stored == "float16":
        source = weights.astype(np.float16)
        weights = source.astype(np.float32)
    elif stored == "bfloat16":
        source = (weights.view(np.uint32) >> 16).astype(np.uint16)
        weights = (source.astype(np.uint32) << 16).view(np.float32)
    else:
        source = weights
    moments = InputMoments(second_moments(inputs), DEFAULT)
    expected = np.zeros(_native.matrix_bytes("q4", rows, cols), np.uint8)
    found = np.zeros_like(expected)
    round_matrix(weights, moments, expected, threads=1)
    _native.start_rounding(source, found, 1)
    factor = np.ascontiguousarray(moments.factor)
    _native.round_columns(source, moments.order, moments.order, factor, found, cols, None, 2)
    assert found.tobytes() == expected.tobytes()


def test_inputs_and_weights_that_are_zero():
    weights, inputs = problem(12, 96)
    weights[3] = 0
    weights[:, 40] = 0
    inputs[:, :32] = 0
    _, packed = rounded(weights, second_moments(inputs))
    found = unpack(("q4", 12, 96, packed))
    assert np.isfinite(found).all()
    assert (found[3] == 0).all()
    _, packed = rounded(weights, np.zeros((96, 96), np.float32))
    assert np.abs(unpack(("q4", 12, 96, packed)) - weights).max() < 0.05


def test_the_factor_inverts():
    rng = np.random.default_rng(0)
    for n in (1, 31, 64, 65, 200):
        a = rng.standard_normal((n, 2 * n))
        matrix = a @ a.T
        factor = inverse_factor(matrix)
        assert (np.tril(factor, -1) == 0).all()
        np.testing.assert_allclose(factor.T @ factor @ matrix, np.eye(n), atol=1e-9)


def test_unpack_reads_what_was_packed():
    weights, _ = problem(13, 70)
    for weight_format in ("f32", "bf16", "q8", "q4"):
        packed = pack(weight_format, weights)
        expected = unpack(packed)
        found = _native.unpack(weight_format, packed[3], 13, 70, 2)
        assert np.abs(found - expected).max() <= 2**-24 * np.abs(expected).max()


def test_shapes_that_do_not_fit_are_refused():
    weights, _ = problem(8, 64)
    out = np.zeros(_native.matrix_bytes("q4", 8, 64), np.uint8)
    columns, factor = np.arange(64, dtype=np.int32), np.eye(64, dtype=np.float32)
    with pytest.raises(EngineError, match="bytes of room, found 3"):
        _native.start_rounding(weights, np.zeros(3, np.uint8), 1)
    with pytest.raises(EngineError, match="expected float32, float16 or uint16"):
        _native.start_rounding(weights.astype(np.float64), out, 1)
    _native.start_rounding(weights, out, 1)

    def round_columns(weights, places, factor, out, source=columns, errors=None):
        _native.round_columns(weights, source, places, factor, out, 64, errors, 1)

    for wrong, message in [
        (columns[:40], "whole groups of 32"),
        (columns + 32, "none of its group's"),
        (columns - 1, "none of its group's"),
        (np.where(columns == 5, 4, columns).astype(np.int32), "not all there"),
        (np.roll(columns, 1), "none of its group's"),
    ]:
        with pytest.raises(EngineError, match=message):
            round_columns(weights, np.ascontiguousarray(wrong), factor, out)
    with pytest.raises(EngineError, match="expected a factor of shape"):
        round_columns(weights, columns, np.eye(32, dtype=np.float32), out)
    with pytest.raises(EngineError, match="expected weights"):
        round_columns(weights[:, ::2], columns, factor, out)
    with pytest.raises(EngineError, match="expected 64 source columns"):
        round_columns(weights, columns, factor, out, source=columns[:32])
    for source in (columns - 1, columns + 64, np.where(columns == 5, 256, columns).astype(np.int32)):
        with pytest.raises(EngineError, match="256 neighbours"):
            round_columns(weights, columns, factor, out, source=source)
    with pytest.raises(EngineError, match="expected errors of shape"):
        round_columns(weights, columns, factor, out, errors=np.zeros((8, 32), np.float32))
    with pytest.raises(EngineError, match="bytes of room"):
        round_columns(weights, columns, factor, out[:-1])
    with pytest.raises(EngineError, match="packed bytes, found"):
        _native.unpack("q8", out, 8, 64, 1)
