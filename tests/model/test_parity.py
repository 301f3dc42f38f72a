"""The f32 engine against transformers and against the float64 oracle, for every random shape."""

import itertools

import numpy as np
import pytest
from checkpoints import write_checkpoint
from native_models import all_logits, greedy, native_model
from oracle import Oracle, inverse_frequencies
from random_models import EXPERT_SHAPES, SHAPES, config, random_ids, random_weights

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.loading.open import open_checkpoint

GREEDY_PROMPTS = (1, 2)  # seeds


CLEAR = 1e-4  # least gap of router logits; tests/csrc/kernels/test_kernel_ops.py has smaller ones, and ties


def clear_ids(cfg, weights, count):
    """Token ids for which every chosen expert leads the best other one by more than rounding errors."""
    for seed in itertools.count():
        ids, oracle = random_ids(cfg, count, seed), Oracle(cfg, weights)
        if not cfg.get("num_experts"):
            return ids
        oracle.logits(ids)
        if oracle.least_lead > CLEAR:
            return ids


def largest(logits):
    """The largest magnitude at each position."""
    return np.abs(logits).max(1)


@pytest.fixture(scope="module", params=[*SHAPES, *EXPERT_SHAPES])
def shape(request):
    """(name, config, weights, f32 model)"""
    cfg = config(request.param)
    weights = random_weights(cfg)
    return request.param, cfg, weights, native_model(cfg, weights)


@pytest.fixture(scope="module")
def reference(shape):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from reference import Reference

    return Reference(shape[1], shape[2])


def test_logits_equal_transformers(shape, reference):
    _, cfg, weights, model = shape
    ids = clear_ids(cfg, weights, 150)
    ours, (theirs, _) = all_logits(model, ids), reference.run(ids)
    assert (np.abs(ours - theirs).max(1) <= 2e-4 * largest(theirs)).all()


def test_hidden_states_equal_transformers(shape, reference):
    _, cfg, weights, model = shape
    ids = clear_ids(cfg, weights, 150)
    (ours,) = model.forward([(model.new_sequence(), ids, np.arange(150, dtype=np.int32), "hidden")])
    theirs = reference.last_hidden_state(ids)
    assert ours.shape == theirs.shape == (150, cfg["hidden_size"])
    assert (np.abs(ours - theirs).max(1) <= 2e-4 * largest(theirs)).all()


def test_greedy_continuations_equal_transformers(shape, reference):
    _, cfg, _, model = shape
    for seed in GREEDY_PROMPTS:
        prompt = random_ids(cfg, 12, seed)
        theirs, lead = reference.greedy(prompt, 64)
        assert greedy(model, prompt, 64) == theirs, f"the closest two logits were {lead:.1e} of the largest apart"


def test_logits_equal_the_oracle(shape):
    # Both implementations differ from float64 by the rounding of float32 chains (see test_oracle.py), which is a
    # twentieth of what parity allows.
    _, cfg, weights, model = shape
    ids = clear_ids(cfg, weights, 96)
    expected = Oracle(cfg, weights).logits(ids)
    assert (np.abs(all_logits(model, ids) - expected).max(1) <= 1e-5 * largest(expected)).all()


def test_rope_frequencies(shape):
    _, cfg, _, _ = shape
    inv_freq, scale = inverse_frequencies(cfg)
    parsed = ModelConfig.from_dict(cfg, "test")
    assert parsed.inv_freq().dtype == np.float32
    # The reference rounds the exponent to float32, which theta's logarithm magnifies, and then every step.
    np.testing.assert_allclose(parsed.inv_freq(), inv_freq, rtol=2.0**-24 * (4 + np.log(parsed.rope_theta) / 2))
    assert parsed.rope_scale() == pytest.approx(scale, rel=1e-7)


@pytest.mark.parametrize("transformers5", [False, True])
def test_a_checkpoint_on_disk_gives_the_same_bits(shape, tmp_path, transformers5):
    _, cfg, weights, model = shape
    keys = {key: value for key, value in cfg.items() if key != "torch_dtype"}
    write_checkpoint(tmp_path, dtype="float32", tensors=weights, transformers5=transformers5, **keys)
    opened = open_checkpoint(tmp_path, "f32", threads=1, cache=False)
    loaded = _native.Model(opened.config.native(512), opened.matrices, opened.vectors, "f32", 1)
    ids = random_ids(cfg, 20)
    assert (all_logits(loaded, ids) == all_logits(model, ids)).all()


def test_a_long_prompt_equals_transformers():
    # 1,500 positions: many blocks of the KV cache and prompt chunks, angles far from the start.
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from reference import Reference

    cfg = config("one_query_per_kv", num_hidden_layers=2, max_position_embeddings=2048, rope_theta=1000)
    weights = random_weights(cfg)
    ids = random_ids(cfg, 1500)
    theirs, _ = Reference(cfg, weights).run(ids)
    ours = all_logits(native_model(cfg, weights, context=2048), ids)
    assert (np.abs(ours - theirs).max(1) <= 2e-4 * largest(theirs)).all()


def test_sharp_attention_and_saturated_gates():
    # Scores of hundreds and gates of +-1,000: exp must neither overflow nor lose the largest score.
    cfg = config("four_queries_deep", num_hidden_layers=2)
    weights = random_weights(cfg)
    for name in weights:
        if "q_norm" in name:
            weights[name] = weights[name] * np.float32(30)
        if "gate_proj" in name:
            weights[name] = weights[name] * np.float32(300)
    ids = random_ids(cfg, 96)
    expected = Oracle(cfg, weights).logits(ids)
    ours = all_logits(native_model(cfg, weights), ids)
    assert np.isfinite(ours).all()
    assert (np.abs(ours - expected).max(1) <= 2e-4 * largest(expected)).all()
