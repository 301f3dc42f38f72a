"""Embedding and head: the tensors overrule config.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import bfloat16_bits, bfloat16_values, write_checkpoint, write_safetensors

import qwen3cpu
from qwen3cpu.checkpoint.readers import tied_head
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.open import open_checkpoint

IDS = [3, 1, 4, 1, 5]


def say(folder: Path, tied: bool | None) -> None:
    """Write whether the head is tied into config.json; None: remove the key."""
    config = json.loads((folder / "config.json").read_text())
    config.pop("tie_word_embeddings")
    (folder / "config.json").write_text(json.dumps(config | ({} if tied is None else {"tie_word_embeddings": tied})))


@pytest.mark.parametrize("said", [True, False, None])
@pytest.mark.parametrize("tied", [True, False])
def test_the_tensors_say_it(tmp_path: Path, tied: bool, said: bool | None) -> None:
    folder = write_checkpoint(tmp_path / "model", tie_word_embeddings=tied).folder
    expected = qwen3cpu.load(folder, "f32", threads=1).logits(IDS)
    say(folder, said)
    opened = open_checkpoint(folder, "f32", threads=1)
    assert (opened.config.tie_word_embeddings, HEAD in opened.matrices) == (tied, not tied)
    np.testing.assert_array_equal(qwen3cpu.load(folder, "f32", threads=1).logits(IDS), expected)
    qwen3cpu.pack(folder, tmp_path / "model.qwen3", "f32", threads=1)
    np.testing.assert_array_equal(qwen3cpu.load(tmp_path / "model.qwen3", threads=1).logits(IDS), expected)


def write_with_head(folder: Path, dtype: str, row: int | None = None) -> None:
    """Write a tied model with a stored head, in float32. `row`: a row of the head that differs; None: all are equal."""
    tensors = write_checkpoint(folder, dtype="float32").tensors
    store = {"BF16": bfloat16_bits, "F32": lambda values: values}[dtype]
    embedding = store(tensors[EMBEDDING])
    head = (bfloat16_values(embedding) if dtype == "BF16" else embedding).copy()
    if row is not None:
        head[row, 7] += 1
    stored = {name: (dtype, store(values)) for name, values in tensors.items()}
    write_safetensors(folder / "model.safetensors", {**stored, HEAD: ("F32", head)})


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_a_head_like_the_embedding_is_left_out(tmp_path: Path, dtype: str) -> None:
    """Also when its dtype is another."""
    write_with_head(tmp_path, dtype)
    assert HEAD not in open_checkpoint(tmp_path, "f32", threads=1).matrices
    write_with_head(tmp_path, dtype, row=61)
    assert HEAD in open_checkpoint(tmp_path, "f32", threads=1).matrices


def test_a_row_that_differs_where_none_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tied_head, "_ENDS", 8)
    write_with_head(tmp_path, "F32", row=100)  # not a multiple of 61
    with pytest.raises(CheckpointError, match=r"lm_head.weight: .*found others in row 100; write tie_word_embeddings"):
        open_checkpoint(tmp_path, "f32", threads=1)
    say(tmp_path, False)
    assert HEAD in open_checkpoint(tmp_path, "f32", threads=1).matrices
