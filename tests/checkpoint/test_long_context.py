"""Contexts beyond the trained one: `load(context=...)` and `load(rope_scaling=...)` against transformers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import Written, write_checkpoint
from numpy.typing import NDArray

import qwen3cpu
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.rope import RopeScaling
from qwen3cpu.checkpoint.yarn import scaled_config
from qwen3cpu.cli.main import main
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.random_weights import synthetic_config

TRAINED = 64
IDS = np.random.default_rng(0).integers(0, 256, 500).tolist()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("long")
    return write_checkpoint(folder, dtype="float32", max_position_embeddings=TRAINED, rope_theta=10000)


def hf_form(factor: float, original: int = TRAINED, **keys: Any) -> dict[str, Any]:
    return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, **keys}


def reference_logits(written: Written, rope_scaling: dict[str, Any], ids: list[int]) -> NDArray[np.float32]:
    """Logits that transformers computes with this rope_scaling. The frequencies are compared bit by bit first."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from reference import Reference

    config = {**written.config, "rope_scaling": rope_scaling}
    reference = Reference(config, written.tensors)
    ours = ModelConfig.from_dict(config, "test")
    rotary = reference.model.model.rotary_emb
    np.testing.assert_array_equal(ours.inv_freq(), rotary.inv_freq.numpy())
    assert ours.rope_scale() == pytest.approx(rotary.attention_scaling, rel=1e-7)
    return reference.run(np.array(ids, np.int32))[0]


def compare(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """The bound of test_parity.py."""
    assert (np.abs(ours - theirs).max(1) <= 2e-4 * np.abs(theirs).max(1)).all()


@pytest.mark.parametrize(("context", "factor"), [(128, 2.0), (500, 7.8125), (65, 65 / 64)])
def test_a_longer_context_turns_yarn_on(
    written: Written, context: int, factor: float, caplog: pytest.LogCaptureFixture
) -> None:
    model = qwen3cpu.load(written.folder, quant="f32", kv="f32", context=context, threads=1)
    assert model.config.rope_scaling == RopeScaling(factor, TRAINED)
    assert model.context == context
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("qwen3cpu", logging.WARNING)
    for part in (str(written.folder), "YaRN", f"factor {factor:g} ", f"{TRAINED} positions", f"context of {context}"):
        assert part in record.getMessage()
    assert ("Factors above 4 have not been tried" in record.getMessage()) == (factor > 4)
    ids = IDS[:context]
    compare(model.logits(ids), reference_logits(written, hf_form(factor), ids))


@pytest.mark.parametrize(
    "rope_scaling",
    [
        hf_form(4.0),
        hf_form(2.5, 100, beta_fast=16.0, beta_slow=2.0, attention_factor=1.25),
        hf_form(8.0, truncate=False),
        {"type": "yarn", "factor": 4.0},
    ],
    ids=str,
)
def test_rope_scaling_as_in_config_json(
    written: Written, rope_scaling: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = qwen3cpu.load(written.folder, quant="f32", kv="f32", rope_scaling=rope_scaling, threads=1)
    assert model.context == rope_scaling["factor"] * rope_scaling.get("original_max_position_embeddings", TRAINED)
    assert not caplog.records, "no warning for a setting that the user chose"
    ids = IDS[: model.context]
    compare(model.logits(ids), reference_logits(written, rope_scaling, ids))


def test_rope_scaling_changes_the_logits_and_nothing_else_does(written: Written) -> None:
    """Otherwise the comparisons above would prove nothing. A context that needs no YaRN does not change the model."""
    plain = qwen3cpu.load(written.folder, quant="f32", threads=1)
    logits = plain.logits(IDS[:TRAINED])
    same = qwen3cpu.load(written.folder, quant="f32", context=TRAINED, threads=1)
    np.testing.assert_array_equal(same.logits(IDS[:TRAINED]), logits)
    default = qwen3cpu.load(written.folder, quant="f32", rope_scaling={"rope_type": "default"}, threads=1)
    np.testing.assert_array_equal(default.logits(IDS[:TRAINED]), logits)
    stretched = qwen3cpu.load(written.folder, quant="f32", rope_scaling=hf_form(4.0), threads=1)
    assert np.abs(stretched.logits(IDS[:TRAINED]) - logits).max() > 0.1


def test_overrides_the_scaling_of_the_checkpoint(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, max_position_embeddings=TRAINED, rope_scaling=hf_form(2.0)).folder
    assert qwen3cpu.load(folder).context == 2 * TRAINED
    with pytest.raises(ArgumentError, match="at most 128 positions, the reach of the model's rope_scaling"):
        qwen3cpu.load(folder, context=129)
    assert qwen3cpu.load(folder, context=256, rope_scaling=hf_form(4.0)).config.rope_scaling == RopeScaling(
        4.0, TRAINED
    )
    assert qwen3cpu.load(folder, rope_scaling={"rope_type": "default"}).context == TRAINED


@pytest.mark.parametrize(("context", "factor"), [(65536, 2.0), (131072, 4.0), (40961, 40961 / 32768), (40960, None)])
def test_released_models(context: int, factor: float | None) -> None:
    """Their config.json says 40,960 positions. The authors trained 32,768, the basis of their advice on YaRN."""
    config = scaled_config(synthetic_config("1.7B"), context, None, "Qwen/Qwen3-1.7B")
    assert config.rope_scaling == (None if factor is None else RopeScaling(factor, 32768))


@pytest.mark.parametrize(
    ("wrong", "mentions"),
    [
        ({}, "rope_scaling: expected an object"),
        ("yarn", "rope_scaling: expected an object"),
        ({"rope_type": "linear", "factor": 2.0}, "'linear'"),
        ({"rope_type": "yarn"}, "factor"),
        ({"rope_type": "yarn", "factor": 0.5}, "factor"),
        ({"rope_type": "yarn", "factor": 2.0, "low_freq_factor": 1.0}, "low_freq_factor"),
    ],
    ids=str,
)
def test_what_is_not_understood(written: Written, wrong: Any, mentions: str) -> None:
    with pytest.raises(ArgumentError, match=mentions):
        qwen3cpu.load(written.folder, rope_scaling=wrong)


def test_command_line(written: Written, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    inspect = ["inspect", str(written.folder), "--json"]
    assert main([*inspect, "--ctx-size", "256"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["rope_scaling"]["factor"] == 4.0
    assert "YaRN with factor 4" in caplog.text
    assert main([*inspect, "--rope-scaling", json.dumps(hf_form(3.0))]) == 0
    assert json.loads(capsys.readouterr().out)["context"] == 192
    for wrong in ("{", "[]", "4"):
        assert main([*inspect, "--rope-scaling", wrong]) == 2
        assert "--rope-scaling" in capsys.readouterr().err
