"""Layers with experts in the native model: the same bits for any cuts of the prompt and any other sequences."""

import numpy as np
import pytest
from native_models import all_logits, native_model, offsets, pack, pack_all, vectors
from random_models import config, random_ids, random_weights

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.errors import EngineError

LENGTH = 50  # with three of seven experts, each expert gets more than one run of tokens


def native_config(cfg, **experts):
    """The native model's configuration for a config.json, with other settings of the experts."""
    native = ModelConfig.from_dict(cfg, "test").native(512)
    return native | {"experts": native["experts"] | experts}


@pytest.fixture(scope="module", params=["f32", "bf16", "q8", "q4"])
def models(request):
    """Two models with the same weights, on one thread and on three; the ids; their logits in one piece."""
    cfg = config("experts_3_of_7", mlp_only_layers=[1], num_hidden_layers=3)
    weights = random_weights(cfg)
    one, three = (native_model(cfg, weights, request.param, threads=threads) for threads in (1, 3))
    ids = random_ids(cfg, LENGTH)
    return one, three, ids, all_logits(one, ids)


@pytest.mark.parametrize("piece", [1, 2, 5, 17, LENGTH])
def test_cuts_and_threads(models, piece):
    *both, ids, expected = models
    for model in both:
        sequence = model.new_sequence()
        for first in range(0, LENGTH, piece):
            part = ids[first : first + piece]
            (rows,) = model.forward([(sequence, part, offsets(*range(len(part))))])
            assert np.array_equal(rows, expected[first : first + piece])


def test_neighbours(models):
    """Eight sequences of different lengths, decoded together."""
    _, model, ids, expected = models
    sequences = [model.new_sequence() for _ in range(8)]
    for number, sequence in enumerate(sequences):
        model.forward([(sequence, ids[: 3 * number + 1], offsets())])
    for step in range(20):
        places = [3 * number + 1 + step for number in range(8)]
        batch = [(each, ids[at : at + 1], offsets(0)) for each, at in zip(sequences, places, strict=True)]
        for rows, at in zip(model.forward(batch), places, strict=True):
            assert np.array_equal(rows[0], expected[at])


def test_experts_that_are_asked_for_ahead():
    cfg = config("experts_3_of_7")
    weights = random_weights(cfg)
    plain = native_model(cfg, weights)
    native = native_config(cfg, fetched=True)
    ahead = _native.Model(native, pack_all("f32", weights), vectors(weights), "f32", 1)
    ids = random_ids(cfg, 9)
    assert np.array_equal(all_logits(ahead, ids), all_logits(plain, ids))


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        ({"count": 5000}, "expected 1 to 4096 experts"),
        ({"chosen": 8}, "of which at least one is chosen, found 8 of 7"),
        ({"chosen": 0}, "found 0 of 7"),
        ({"width": 0}, "of width 0"),
        ({"count": 6, "chosen": 3}, r"mlp.gate.weight: expected shape \[6, 77\], found \[7, 77\]"),
        ({"width": 32}, r"experts.0.gate_proj.weight: expected shape \[32, 77\], found \[33, 77\]"),
        ({"dense_layers": [0]}, r"layers.0.mlp.gate_proj.weight: missing"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_by_name(experts, message):
    cfg = config("experts_3_of_7")
    weights = random_weights(cfg)
    native = native_config(cfg, **experts)
    with pytest.raises(EngineError, match=message):
        _native.Model(native, pack_all("f32", weights), vectors(weights), "f32", 1)


def test_experts_of_different_formats_are_refused():
    cfg = config("experts_3_of_7")
    weights = random_weights(cfg)
    name = "model.layers.1.mlp.experts.4.up_proj.weight"
    matrices = pack_all("q8", weights) | {name: pack("q4", weights[name])}
    with pytest.raises(EngineError, match=r"experts\.4\..*expected the formats of expert 0"):
        native_model(cfg, weights, matrices=matrices)
