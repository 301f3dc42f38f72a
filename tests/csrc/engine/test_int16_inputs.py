"""Inputs in two parts of 8 bits, against a NumPy oracle that does not round inputs."""

import numpy as np
import pytest
from native_models import all_logits, native_model, offsets, pack_all, vectors
from quantized_oracle import QuantizedOracle, rms
from random_models import config, random_ids, random_weights

FORMATS = ["q8", "q4", "q4s", "q4a32", "q4a64", "q4a128"]
SHAPES = ["two_queries_128", "five_queries_odd", "wide", "experts_all_3"]
# Float32 against float64, relative to the largest of a vector: a few hundred operations, as in test_formats.py.
FLOAT_ERROR = 1e-5


@pytest.mark.parametrize("quant", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_254th_of_the_rounding_noise_is_left(shape, quant):
    """A step of the second part is a 127th of half a step of the first. Float32 adds errors of its own."""
    cfg = config(shape)
    weights = random_weights(cfg, seed=4)
    matrices = pack_all(quant, weights)
    ids = random_ids(cfg, 70)
    exact = QuantizedOracle(cfg, matrices, vectors(weights), exact_inputs=True).logits(ids)
    noise = {
        int16: rms(all_logits(native_model(cfg, weights, quant, matrices=matrices, int16_inputs=int16), ids) - exact)
        for int16 in (False, True)
    }
    assert noise[True] <= noise[False] / 254 * 1.15 + FLOAT_ERROR * np.abs(exact).max()


@pytest.mark.parametrize("quant", ["q8", "q4", "q4a64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_one_by_one_beside_another_sequence(shape, quant):
    cfg = config(shape)
    weights = random_weights(cfg, seed=6)
    model = native_model(cfg, weights, quant, threads=2, int16_inputs=True)
    ids, other = random_ids(cfg, 20), random_ids(cfg, 40, 1)
    expected = all_logits(model, ids)
    sequence, neighbour = model.new_sequence(), model.new_sequence()
    for place, token in enumerate(ids):
        beside = other[2 * place : 2 * place + 2]
        logits, _ = model.forward([(sequence, token[None], offsets(0)), (neighbour, beside, offsets())])
        assert (logits[0] == expected[place]).all()
