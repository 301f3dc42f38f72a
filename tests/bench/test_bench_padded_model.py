"""bench/padded_model.py: the padded model gives the same logits."""

import json

import numpy as np
from checkpoints import write_checkpoint
from support.scripts import script_module

import qwen3cpu


def test_the_padded_model_gives_the_same_logits(tmp_path):
    """Within the bound of test_parity.py, because sums over more columns are added in another order."""
    shape = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 6, "num_key_value_heads": 3}
    write_checkpoint(tmp_path / "model", head_dim=32, attention_bias=True, **shape)
    script_module("bench/padded_model.py").write_padded(tmp_path / "model", tmp_path / "padded")
    config = json.loads((tmp_path / "padded" / "config.json").read_text())
    assert [config[name] for name in shape] == [256, 256, 8, 4]
    original, padded = (
        qwen3cpu.load(tmp_path / name, quant="f32", kv="f32", threads=1) for name in ("model", "padded")
    )
    ids = list(range(40))
    expected = original.logits(ids)
    assert (np.abs(padded.logits(ids) - expected).max(1) <= 1e-5 * np.abs(expected).max(1)).all()
