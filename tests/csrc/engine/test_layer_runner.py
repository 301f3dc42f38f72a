"""The pass in parts, as calibration runs it: embed, run_layer and head against forward, and the reported inputs."""

import numpy as np
import pytest
from checkpoints import has_experts
from native_models import all_logits, native_model
from oracle import Oracle
from random_models import EXPERT_SHAPES, SHAPES, config, random_ids, random_weights

from qwen3cpu.errors import EngineError

LENGTHS = (70, 1, 9, 64)
OF_READER = {"q_proj": "qkv", "o_proj": "o", "gate_proj": "gate_up", "down_proj": "down"}


def ints(values):
    return np.array(values, dtype=np.int32)


def room(cfg, tokens):
    """NaN arrays for the inputs of a layer's matrices."""
    sizes = {
        "qkv": cfg["hidden_size"],
        "o": cfg["num_attention_heads"] * cfg["head_dim"],
        "gate_up": cfg["hidden_size"],
        "down": cfg["intermediate_size"],
    }
    return {name: np.full((tokens, size), np.nan, dtype=np.float32) for name, size in sizes.items()}


def in_parts(model, cfg, lengths, ids):
    """(logits [tokens, vocab_size], inputs of each layer) of sequences that follow one another in ids."""
    x = model.embed(ids)
    inputs = []
    for layer in range(cfg["num_hidden_layers"]):
        inputs.append(room(cfg, len(ids)))
        model.run_layer(layer, ints(lengths), x, **inputs[-1])
    return model.head(x), inputs


@pytest.mark.parametrize("quant", ["f32", "q8", "q4"])
@pytest.mark.parametrize("shape", ["three_queries_bias", "five_queries_odd", "six_queries_yarn_128"])
def test_the_parts_give_the_logits_of_the_whole(shape, quant):
    cfg = config(shape)
    model = native_model(cfg, random_weights(cfg), quant, kv="f16")
    ids = random_ids(cfg, sum(LENGTHS))
    logits, together = in_parts(model, cfg, LENGTHS, ids)
    ends = np.cumsum(LENGTHS)
    for length, end in zip(LENGTHS, ends, strict=True):
        alone = ids[end - length : end]
        assert (logits[end - length : end] == all_logits(model, alone)).all()
        _, inputs = in_parts(model, cfg, [length], alone)
        for layer, shown in enumerate(inputs):
            for name, values in shown.items():
                assert (values == together[layer][name][end - length : end]).all()
    assert model.kv_blocks_in_use() == 0


@pytest.mark.parametrize("rows", range(5))
def test_the_head_of_few_rows_is_that_of_each(rows):
    cfg = config("two_queries_128")
    model = native_model(cfg, random_weights(cfg), "q8", kv="f16")
    x = model.embed(random_ids(cfg, 4))
    found = model.head(x[:rows])
    assert (found == model.head(x)[:rows]).all()
    assert found.shape == (rows, cfg["vocab_size"])


def test_threads_change_nothing():
    cfg = config("two_queries_128")
    weights, ids = random_weights(cfg), random_ids(cfg, sum(LENGTHS))
    found = [in_parts(native_model(cfg, weights, "q4", threads=n), cfg, LENGTHS, ids) for n in (1, 2, 3)]
    for logits, inputs in found[1:]:
        assert (logits == found[0][0]).all()
        for layer, shown in enumerate(inputs):
            assert all((values == found[0][1][layer][name]).all() for name, values in shown.items())


def what_matrices_read(cfg, weights, ids):
    """Name of each matrix -> its input, by the oracle."""
    read = {}

    def linear(name, x):
        read[name] = x
        return x @ weights[name].astype(np.float64).T

    Oracle(cfg, weights, linear=linear).logits(ids)
    return read


@pytest.mark.parametrize("shape", SHAPES)
def test_inputs_are_what_the_matrices_multiply(shape):
    cfg = config(shape)
    weights, ids = random_weights(cfg, seed=3), random_ids(cfg, 80)
    read = what_matrices_read(cfg, weights, ids)
    _, inputs = in_parts(native_model(cfg, weights), cfg, [80], ids)
    for layer, shown in enumerate(inputs):
        for reader, name in OF_READER.items():
            part = "mlp" if reader in ("gate_proj", "down_proj") else "self_attn"
            expected = read[f"model.layers.{layer}.{part}.{reader}.weight"]
            # Float32 rounding of a few hundred operations, see tests/model/test_oracle.py.
            assert (np.abs(shown[name] - expected).max(1) <= 1e-5 * np.abs(expected).max(1)).all()


@pytest.mark.parametrize("shape", EXPERT_SHAPES)
def test_inputs_of_experts_are_those_of_the_tokens_that_chose_them(shape):
    cfg = config(shape)
    weights, ids = random_weights(cfg, seed=3), random_ids(cfg, 80)
    read = what_matrices_read(cfg, weights, ids)
    model = native_model(cfg, weights)
    x, compared = model.embed(ids), 0
    for layer in range(cfg["num_hidden_layers"]):
        if not has_experts(cfg, layer):
            model.run_layer(layer, ints([80]), x)
            continue
        chosen = np.full((80, cfg["num_experts_per_tok"]), -1, dtype=np.int32)
        inputs = np.full((chosen.size, cfg["moe_intermediate_size"]), np.nan, dtype=np.float32)
        model.run_layer(layer, ints([80]), x, chosen=chosen, experts=inputs)
        assert (np.diff(chosen) > 0).all(), "experts ascend"
        for expert in range(cfg["num_experts"]):
            expected = read.get(f"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight", np.empty((0, 1)))
            found = inputs[chosen.reshape(-1) == expert]
            assert len(found) == len(expected)
            assert (np.abs(found - expected).max(1) <= 1e-5 * np.abs(expected).max(1)).all()
            compared += len(found)
    assert compared % (80 * cfg["num_experts_per_tok"]) == 0
    assert compared > 0


def test_only_what_is_asked_for_is_shown():
    cfg = config("one_query_per_kv")
    model = native_model(cfg, random_weights(cfg))
    ids = random_ids(cfg, 20)
    plain, shown = model.embed(ids), model.embed(ids)
    down = room(cfg, 20)["down"]
    model.run_layer(0, ints([20]), plain)
    model.run_layer(0, ints([20]), shown, down=down)
    assert (plain == shown).all()
    assert np.isfinite(down).all()


def test_what_does_not_fit_is_refused():
    cfg = config("one_query_per_kv")
    model = native_model(cfg, random_weights(cfg), context=30)
    x = model.embed(random_ids(cfg, 31))
    before = x.copy()
    with pytest.raises(EngineError, match="expected token ids from 0 to 415, found 416"):
        model.embed(ints([416]))
    for layer in (-1, cfg["num_hidden_layers"]):
        with pytest.raises(EngineError, match=f"expected a layer from 0 to .*, found {layer}"):
            model.run_layer(layer, ints([31]), x)
    with pytest.raises(EngineError, match="sequences of 1 to 30 tokens, found 31"):
        model.run_layer(0, ints([31]), x)
    with pytest.raises(EngineError, match="sequences of 1 to 30 tokens, found 0"):
        model.run_layer(0, ints([30, 0, 1]), x)
    with pytest.raises(EngineError, match=r"x: expected shape \(30, 64\), found \(31, 64\)"):
        model.run_layer(0, ints([30]), x)
    with pytest.raises(EngineError, match="down: expected shape"):
        model.run_layer(0, ints([30, 1]), x, down=np.zeros((31, 3), dtype=np.float32))
    with pytest.raises(EngineError, match=r"chosen: expected shape \(31, 0\)"):
        model.run_layer(0, ints([30, 1]), x, chosen=np.zeros((31, 2), dtype=np.int32))
    with pytest.raises(EngineError, match="x: expected shape"):
        model.head(np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(TypeError):
        model.run_layer(0, ints([31]), x.astype(np.float64))
    assert (x == before).all()
    assert model.kv_blocks_in_use() == 0


def test_dense_layers_and_layers_with_experts_show_different_inputs():
    cfg = config("experts_named_layers")
    model = native_model(cfg, random_weights(cfg))
    x = model.embed(random_ids(cfg, 3))
    room_for_down = np.zeros((3, cfg["intermediate_size"]), dtype=np.float32)
    room_for_choices = np.zeros((3, cfg["num_experts_per_tok"]), dtype=np.int32)
    for layer in range(cfg["num_hidden_layers"]):
        if has_experts(cfg, layer):
            with pytest.raises(EngineError, match=f"not for down: layer {layer} has experts"):
                model.run_layer(layer, ints([3]), x, down=room_for_down)
        else:
            with pytest.raises(EngineError, match=f"expected no room for experts: layer {layer} is dense"):
                model.run_layer(layer, ints([3]), x, chosen=room_for_choices)
