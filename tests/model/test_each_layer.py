"""Every layer by itself, tested through the logits alone.

A model is cut off after n layers. It gets a final norm of ones and an untied head whose first hidden_size rows are the
identity. Its logits are then exactly the RMS-normalised residual stream after layer n, because the head adds one
product by 1 to zeros. The norm removes the stream's magnitude; an error in it shows one layer later, where the stream
is added to. Zeroing o_proj or down_proj leaves only the MLP or only the attention.
"""

import numpy as np
import pytest
from native_models import all_logits, native_model
from oracle import Oracle
from random_models import SHAPES, config, random_ids, random_weights


def truncated(cfg, weights, n_layers):
    """(config, weights) of the first n layers, whose logits are the normalised residual stream, then zeros."""
    cfg = {**cfg, "num_hidden_layers": n_layers, "tie_word_embeddings": False}
    kept = {
        name: values
        for name, values in weights.items()
        if not name.startswith("model.layers.") or int(name.split(".")[2]) < n_layers
    }
    kept["model.norm.weight"] = np.ones(cfg["hidden_size"], dtype=np.float32)
    kept["lm_head.weight"] = np.eye(cfg["vocab_size"], cfg["hidden_size"], dtype=np.float32)
    return cfg, kept


def normalised(stream, eps):
    """The logits of the truncated model for a residual stream [tokens, hidden_size]."""
    x = stream.astype(np.float64)
    return x / np.sqrt((x * x).mean(1, keepdims=True) + eps)


def engine_stream(cfg, weights, n_layers, ids):
    """The normalised residual stream after n layers of the engine, [tokens, hidden_size]."""
    logits = all_logits(native_model(*truncated(cfg, weights, n_layers)), ids)
    assert (logits[:, cfg["hidden_size"] :] == 0).all()
    return logits[:, : cfg["hidden_size"]]


def assert_close(ours, theirs):
    """Check that all positions agree within the float32 rounding of a few hundred operations, see test_oracle.py."""
    assert (np.abs(ours - theirs).max(1) <= 1e-5 * np.abs(theirs).max(1)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_residual_stream_after_each_layer_equals_transformers(shape):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from reference import Reference

    cfg = config(shape)
    weights = random_weights(cfg, seed=1)
    ids = random_ids(cfg, 80)
    _, streams = Reference(cfg, weights).run(ids)
    assert len(streams) == cfg["num_hidden_layers"] + 1
    for n in range(1, len(streams)):
        assert_close(engine_stream(cfg, weights, n, ids), normalised(streams[n], cfg["rms_norm_eps"]))


@pytest.mark.parametrize("silenced", ["self_attn.o_proj", "mlp.down_proj"])
@pytest.mark.parametrize("shape", ["three_queries_bias", "five_queries_odd", "six_queries_yarn_128"])
def test_attention_alone_and_mlp_alone(shape, silenced):
    cfg = config(shape)
    weights = random_weights(cfg, seed=2)
    for name in weights:
        if silenced in name:
            weights[name] = np.zeros_like(weights[name])
    ids = random_ids(cfg, 80)
    streams = Oracle(cfg, weights).hidden_states(ids)
    assert_close(engine_stream(cfg, weights, 1, ids), normalised(streams[1], cfg["rms_norm_eps"]))
