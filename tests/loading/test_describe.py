"""`describe` tells the same of a model that is not loaded as its loaded object does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint
from retrieval_models import write_embedding_model

import qwen3cpu
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.loading.describe import describe


def compare(source: Path | str, **options: Any) -> None:
    """Compare with the loaded model."""
    about = describe(source, **options, threads=1)
    model = qwen3cpu.load(source, **options, threads=1)
    assert about.config == model.config
    assert (about.task, about.quant, about.context) == (model.task, model.quant, model.context)
    assert (about.weight_bytes, about.fingerprint) == (model.weight_bytes, model.fingerprint)
    assert about.kv_block_bytes == model.engine.kv_block_bytes
    assert (about.defaults, about.chat_template) == (model.generation_defaults, model.chat_template)
    assert about.thinks == (model.tokenizer.think is not None)
    assert about.calls == (model.tokenizer.tool_call is not None)
    # The least KV memory with which a server of the model starts.
    assert about.context_kv_bytes == (-(-model.context // 64) + 1) * about.kv_block_bytes


@pytest.mark.parametrize("options", [{}, {"quant": "f32", "kv": "q8", "context": 100}, {"task": "embedding"}], ids=str)
def test_a_folder(tmp_path: Path, options: dict[str, Any]) -> None:
    write_checkpoint(tmp_path / "model")
    compare(tmp_path / "model", **options)


def test_other_kinds_of_files(tmp_path: Path) -> None:
    write_embedding_model(tmp_path / "model")
    compare(tmp_path / "model")
    qwen3cpu.pack(tmp_path / "model", tmp_path / "model.qwen3", "q8", threads=1)
    compare(tmp_path / "model.qwen3")
    compare("tiny")


def test_errors(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    with pytest.raises(ArgumentError, match="context"):
        describe(tmp_path / "model", context=1 << 40, threads=1)
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        describe(tmp_path / "model", threads=1)
