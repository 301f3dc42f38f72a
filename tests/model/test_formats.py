"""The engine in every weight format against a NumPy oracle that reads the packed bytes itself.

Inputs of q8 and q4 matrices are rounded to int8. An input near a tie that is off by the last bits of float32 may be
rounded either way, and later values then differ by whole steps. So the strict comparison takes places where no input,
of this or an earlier token, lies near a tie: there the engine must agree to float32 rounding. Another test checks that
the rounding noise of larger models has the predicted size.
"""

import itertools

import numpy as np
import pytest
from native_models import all_logits, native_model, pack, pack_all, vectors
from oracle import Oracle
from quantized_oracle import QuantizedOracle, quantize_activations, rms, unpack
from random_models import EXPERT_SHAPES, SHAPES, config, random_ids, random_weights

from qwen3cpu import _native

# Float32 against float64, relative to the largest of a vector: a few hundred operations (see test_oracle.py), and the
# few dozen of the thin models.
FLOAT_ERROR = 1e-5
THIN_ERROR = 2e-6
# An input of a quantised matrix is at most 127 steps, so it is off by at most this many.
NEAR_TIE = 127 * THIN_ERROR

THIN = {
    "thin": {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1},
    "thin_odd": {"hidden_size": 39, "intermediate_size": 41, "num_attention_heads": 3, "num_key_value_heads": 3},
    # More than one block of 256 inputs in q4 and of 128 in q8, the last one short.
    "wide_in": {"hidden_size": 296, "intermediate_size": 24, "num_attention_heads": 1, "num_key_value_heads": 1},
    "wide_mlp": {"hidden_size": 16, "intermediate_size": 584, "num_attention_heads": 1, "num_key_value_heads": 1},
    "bias": {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "attention_bias": True,
    },
}
COUNTS = {"thin": (60, 4), "thin_odd": (60, 4), "wide_in": (120, 2), "wide_mlp": (120, 2), "bias": (60, 4)}
"""Sequences and their length."""


@pytest.mark.parametrize("weight_format", _native.FORMATS)
def test_packed_bytes_stand_for_the_weights(weight_format):
    for rows, cols in itertools.product([8, 3, 21], [1, 31, 32, 33, 128, 160, 256, 257, 584]):
        weights = np.random.default_rng(rows * 1000 + cols).standard_normal((rows, cols), dtype=np.float32)
        unpacked = unpack(pack(weight_format, weights))
        check_unpacked(weight_format, unpacked, weights, f"{rows} x {cols}")


def check_unpacked(weight_format, unpacked, weights, shape):
    """Check that unpacked weights differ from the original by at most the format's rounding."""
    error = np.abs(unpacked - weights)
    if weight_format == "f32":
        assert (unpacked == weights).all(), shape
    elif weight_format == "bf16":
        assert (error <= 2.0**-8 * np.abs(weights)).all(), shape
    else:
        # q8: half a step of the group's grid, plus the error from rounding the scale itself to f16. A searched q4 scale
        # may clip the ends, so its bound is on the whole: uniform rounding noise of a grid over +-8 steps.
        width = int(weight_format.removeprefix("q4a")) if weight_format.startswith("q4a") else 32
        groups = [slice(at, at + width) for at in range(0, weights.shape[1], width)]
        amax = np.stack([np.abs(weights[:, g]).max(1) for g in groups], 1)
        amax = np.repeat(amax, width, axis=1)[:, : weights.shape[1]]
        if weight_format == "q8":
            assert (error <= amax / 119 * (0.5 + 127 * 2.0**-11)).all(), shape
        else:
            if weight_format in ("q4", "q4x2"):
                # A row's steps are whole multiples of a fifteenth of its largest.
                amax = np.maximum(amax, amax.max(1, keepdims=True) / 15)
            step = amax / 7
            if weight_format == "q4x2":
                # The second part rounds the error of the first, at most half a step, again in steps of its largest.
                step = np.maximum(step / 2, step.max(1, keepdims=True) / 2 / 15) / 7
            assert (error <= step).all(), shape
            assert np.sqrt((error**2).mean()) <= np.sqrt((step**2).mean()) / np.sqrt(12) * 1.05, shape


@pytest.mark.parametrize("weight_format", ["q8", "q4"])
def test_groups_of_zeros_and_of_tiny_weights(weight_format):
    weights = np.random.default_rng(0).standard_normal((8, 96), dtype=np.float32)
    weights[:, 32:64] = 0
    weights[3] = 0
    weights[4] *= np.float32(1e-30)
    unpacked = unpack(pack(weight_format, weights))
    assert (unpacked[:, 32:64] == 0).all()
    assert (unpacked[3] == 0).all()
    if weight_format == "q8":
        assert (unpacked[4] == 0).all()  # an f16 scale cannot be so small
    else:
        assert np.abs(unpacked[4] - weights[4]).max() <= np.abs(weights[4]).max() / 7


def test_activation_rounding_of_the_oracle():
    x = np.array([[127.0, -63.5 - 1e-9, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0]])
    rounded, distance = quantize_activations(x, 2)
    assert rounded[0, :2].tolist() == [127.0, -64.0]
    assert rounded[0, 2] == pytest.approx(0.2)
    assert (rounded[1] == 0).all()
    assert distance[0] == pytest.approx(1e-9, abs=1e-12)
    assert distance[1] == 0.5


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("quant", ["q8", "q4"])
@pytest.mark.parametrize("shape", THIN)
def test_logits_where_no_rounding_is_near_a_tie(shape, quant, tied):
    cfg = config("wide", num_hidden_layers=1, head_dim=32, vocab_size=51, tie_word_embeddings=tied) | THIN[shape]
    weights = random_weights(cfg)
    matrices = pack_all(quant, weights)
    oracle = QuantizedOracle(cfg, matrices, vectors(weights))
    model = native_model(cfg, weights, quant, matrices=matrices)

    sequences, length = COUNTS[shape]
    compared = 0
    for seed in range(sequences):
        ids = random_ids(cfg, length, seed)
        expected, ours = oracle.logits(ids), all_logits(model, ids)
        clear = np.minimum.accumulate(oracle.tie_distance) > NEAR_TIE
        error = np.abs(ours - expected).max(1) / np.abs(expected).max(1)
        assert (error[clear] <= THIN_ERROR).all()
        compared += int(clear.sum())
    assert compared >= 20


@pytest.mark.parametrize("shape", [*SHAPES, *EXPERT_SHAPES])
@pytest.mark.parametrize("quant", ["f32", "bf16"])
def test_logits_of_float_formats(shape, quant):
    cfg = config(shape)
    weights = random_weights(cfg, seed=3)
    matrices = pack_all(quant, weights)
    oracle = QuantizedOracle(cfg, matrices, vectors(weights))
    ids = random_ids(cfg, 70)
    expected = oracle.logits(ids)
    ours = all_logits(native_model(cfg, weights, quant, matrices=matrices), ids)
    assert (np.abs(ours - expected).max(1) <= FLOAT_ERROR * np.abs(expected).max(1)).all()


@pytest.mark.parametrize("quant", ["q8", "q4"])
@pytest.mark.parametrize("shape", ["two_queries_128", "five_queries_odd", "seven_queries_96", "wide", "experts_all_3"])
def test_rounding_noise_is_as_large_as_predicted(shape, quant):
    # Roundings of numbers that differ in their last bits drift apart. Their distance to the answer without rounding
    # must stay the same: 70 positions x 400 logits give its size to a few per cent.
    cfg = config(shape)
    weights = random_weights(cfg, seed=4)
    matrices = pack_all(quant, weights)
    ids = random_ids(cfg, 70)
    exact = QuantizedOracle(cfg, matrices, vectors(weights), exact_inputs=True).logits(ids)
    rounded = QuantizedOracle(cfg, matrices, vectors(weights)).logits(ids)
    ours = all_logits(native_model(cfg, weights, quant, matrices=matrices), ids)
    assert rms(ours - exact) == pytest.approx(rms(rounded - exact), rel=0.15)


def rounded_to_f16(x):
    return x.astype(np.float16).astype(np.float64)


def rounded_to_q8(x):
    """To 255 levels between the largest magnitude of each head and position and its negative."""
    scale = np.abs(x).max(-1, keepdims=True) / 127
    return np.rint(x / scale) * scale


@pytest.mark.parametrize(("kv", "store"), [("f16", rounded_to_f16), ("q8", rounded_to_q8)])
@pytest.mark.parametrize("shape", ["two_queries_128", "three_queries_bias", "five_queries_odd"])
def test_rounded_cache(shape, kv, store):
    # The engine may differ from an exact cache only by the rounding of keys and values. The inputs of a single layer
    # agree to float32, so this holds for all but the few roundings near a tie.
    cfg = config(shape, num_hidden_layers=1)
    weights = random_weights(cfg, seed=5)
    ids = random_ids(cfg, 150)
    exact = Oracle(cfg, weights).logits(ids)
    rounded = Oracle(cfg, weights, store=store).logits(ids)
    ours = all_logits(native_model(cfg, weights, kv=kv), ids)
    assert rms(ours - rounded) <= rms(rounded - exact) / 4
    assert rms(rounded - exact) > 0
