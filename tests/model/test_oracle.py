"""The NumPy oracle itself: compared with the reference implementation, and with facts that need no torch."""

import numpy as np
import pytest
from oracle import Oracle, inverse_frequencies, rotate
from random_models import SHAPES, config, random_ids, random_weights

YARN_QWEN3 = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize("shape", SHAPES)
def test_oracle_equals_the_reference_implementation(shape):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from reference import Reference

    cfg = config(shape)
    weights = random_weights(cfg)
    ids = random_ids(cfg, 96)
    logits, states = Reference(cfg, weights).run(ids)
    oracle = Oracle(cfg, weights)
    # At most two hundred roundings of 6e-8: chains of float32 operations, and angles of RoPE that are off by up to
    # 96 * 6e-8. An error in the formula would give 1e-3 and more.
    for ours, theirs in zip([*oracle.hidden_states(ids), oracle.logits(ids)], [*states, logits], strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(ours).max()


def test_yarn_of_qwen3():
    # Released models: theta 1e6, head_dim 128, factor 4 over 32,768 positions.
    cfg = config("two_queries_128", rope_scaling=YARN_QWEN3, max_position_embeddings=131072)
    plain, one = inverse_frequencies(config("two_queries_128"))
    yarn, scale = inverse_frequencies(cfg)
    assert one == 1.0
    assert scale == pytest.approx(1.1386294361)
    ratio = yarn / plain
    assert (ratio[:24] == 1).all()
    assert ratio[40:] == pytest.approx(0.25)
    assert (np.diff(ratio[23:41]) < 0).all()


def test_both_spellings_of_rope_settings_mean_the_same():
    old = config("two_queries_128", rope_scaling={"type": "yarn", **YARN_QWEN3}, rope_theta=12345.0)
    new = {k: v for k, v in old.items() if k not in ("rope_theta", "rope_scaling")}
    new["rope_parameters"] = {**YARN_QWEN3, "rope_theta": 12345.0}
    assert (inverse_frequencies(old)[0] == inverse_frequencies(new)[0]).all()


def test_rotated_products_depend_on_the_distance_only():
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 1, 1, 64))
    inv_freq, _ = inverse_frequencies(config("four_queries_deep"))

    def turned(x, position):
        return rotate(x, np.cos(position * inv_freq)[None], np.sin(position * inv_freq)[None])

    at_start = (turned(q, 7) * turned(k, 3)).sum()
    assert (turned(q, 107) * turned(k, 103)).sum() == pytest.approx(at_start, abs=1e-12)
    assert abs((turned(q, 7) * turned(k, 4)).sum() - at_start) > 1e-3


def test_a_token_does_not_see_later_ones():
    cfg = config("one_query_per_kv")
    oracle = Oracle(cfg, random_weights(cfg))
    ids = random_ids(cfg, 12)
    whole = oracle.logits(ids)
    assert np.abs(whole[:7] - oracle.logits(ids[:7])).max() < 1e-12
    changed = ids.copy()
    changed[3] = (changed[3] + 1) % cfg["vocab_size"]
    assert np.abs(whole[:3] - oracle.logits(changed)[:3]).max() < 1e-12
    assert np.abs(whole[3:] - oracle.logits(changed)[3:]).max(1).min() > 0.1
