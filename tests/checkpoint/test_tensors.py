"""The table of tensors matches a checkpoint, and new rows are enough for a layer with more tensors."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import qwen3_config, random_tensors, tensor_shapes, write_checkpoint

from qwen3cpu import _native
from qwen3cpu.checkpoint import tensors
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.readers.registry import source_kind
from qwen3cpu.checkpoint.tensors import (
    TensorRow,
    input_sizes,
    logits_matrix,
    matrices_by_input,
    matrix_shapes,
    tensors_of,
    vocabulary_matrices,
)
from qwen3cpu.packed.matrix import plan_matrices


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_tensors_of_a_checkpoint(tied: bool, bias: bool) -> None:
    values = qwen3_config(tie_word_embeddings=tied, attention_bias=bias, num_hidden_layers=3, head_dim=34)
    config = ModelConfig.from_dict(values, "here")
    expected = dict(tensor_shapes(values))
    found = {tensor.name: tensor for tensor in tensors_of(config)}
    assert {name: tensor.shape for name, tensor in found.items()} == expected
    assert config.parameters() == sum(map(prod, expected.values()))
    for name, tensor in found.items():
        role = {"embed_tokens": "embedding", "lm_head": "head"}.get(name.split(".")[-2])
        if role is None:
            role = "norm" if name.endswith("norm.weight") else "bias" if "bias" in name else "projection"
        assert tensor.row.role == role
        assert tensor.layer == (int(name.split(".")[2]) if name.startswith("model.layers.") else None)


@pytest.mark.parametrize("tied", [True, False])
def test_embedding_and_head(tied: bool) -> None:
    config = ModelConfig.from_dict(qwen3_config(tie_word_embeddings=tied), "here")
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    assert vocabulary_matrices(config) == ({embedding} if tied else {embedding, head})
    assert logits_matrix(config) == (embedding if tied else head)


def test_quants_are_the_formats_of_the_engine() -> None:
    assert {*tensors.MATRIX_FORMATS, tensors.EARLIER} == set(_native.FORMATS)
    assert {*tensors.QUANTS, tensors.TWICE} == set(tensors.MATRIX_FORMATS)
    assert {tensors.NARROW, tensors.WIDE, tensors.DEFAULT_QUANT, *tensors.KEEPING.values()} <= set(tensors.QUANTS)


def test_groups_have_the_format_of_their_columns() -> None:
    found = {columns: tensors.format_of_groups(columns) for columns in (None, 16, 32, 48, 64, 96, 128, 192, 256, 768)}
    assert found == {
        **dict.fromkeys((None, 16, 48), "q8"),
        **dict.fromkeys((32, 96), "q4a32"),
        **dict.fromkeys((64, 192), "q4a64"),
        **dict.fromkeys((128, 256, 768), "q4a128"),
    }


def test_each_matrix_of_a_layer_reads_one_input() -> None:
    config = ModelConfig.from_dict(qwen3_config(hidden_size=72), "here")
    readers, sizes, shapes = matrices_by_input(config, 1), input_sizes(config), matrix_shapes(config)
    assert list(readers) == list(sizes) == ["qkv", "o", "gate_up", "down"]
    assert [name for names in readers.values() for name in names] == [
        n for n in shapes if n.startswith("model.layers.1.")
    ]
    for shown, names in readers.items():
        assert {shapes[name][1] for name in names} == {sizes[shown]}


EXPERTS = 3
GATE = "mlp.gate.weight"
EXPERT = "mlp.experts.{copy}.down_proj.weight"


@pytest.fixture
def with_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add two rows for a toy layer with experts to the table."""
    rows = (
        TensorRow(
            GATE, "ffn_gate_inp.weight", (lambda c: EXPERTS, lambda c: c.hidden_size), "projection", reads="gate_up"
        ),
        TensorRow(
            EXPERT,
            "ffn_down_exps.weight",
            (lambda c: c.hidden_size, lambda c: 32),
            "projection",
            reads="experts",
            format=lambda quant, last_layer: "bf16",
            copies=lambda c: EXPERTS,
        ),
    )
    monkeypatch.setattr(tensors, "IN_LAYER", (*tensors.IN_LAYER, *rows))


def more_tensors(values: dict[str, Any]) -> dict[str, np.ndarray]:
    """Make the weights of the added rows, as in a checkpoint."""
    rng = np.random.default_rng(1)
    names = [GATE, *(EXPERT.format(copy=copy) for copy in range(EXPERTS))]
    return {
        f"model.layers.{layer}.{name}": rng.standard_normal(
            (EXPERTS, values["hidden_size"]) if name == GATE else (values["hidden_size"], 32), dtype=np.float32
        )
        for layer in range(values["num_hidden_layers"])
        for name in names
    }


@pytest.mark.usefixtures("with_experts")
def test_experts_are_rows() -> None:
    values = qwen3_config()
    config, more = ModelConfig.from_dict(values, "here"), more_tensors(values)
    assert config.parameters() == sum(prod(s) for _, s in tensor_shapes(values)) + sum(v.size for v in more.values())
    plan = plan_matrices(config, "q4")
    for name, weights in more.items():
        assert (plan[name].rows, plan[name].cols) == weights.shape
        assert plan[name].format == ("q4" if name.endswith(GATE) else "bf16")
    assert matrices_by_input(config, 1)["experts"] == [
        f"model.layers.1.mlp.experts.{copy}.down_proj.weight" for copy in range(3)
    ]
    assert input_sizes(config)["experts"] == 32


@pytest.mark.usefixtures("with_experts")
def test_readers_find_experts_alone_and_stacked(tmp_path: Path) -> None:
    gguf_models = pytest.importorskip("gguf_models", exc_type=ImportError)
    values = qwen3_config(torch_dtype="float32")
    weights, more = dict(random_tensors(values)), more_tensors(values)
    write_checkpoint(tmp_path / "model", dtype="float32", tensors={**weights, **more})

    def add(writer: Any) -> None:
        for layer in range(values["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            writer.add_tensor(f"blk.{layer}.ffn_gate_inp.weight", more[at + GATE])
            stacked = np.stack([more[at + EXPERT.format(copy=copy)] for copy in range(EXPERTS)])
            writer.add_tensor(f"blk.{layer}.ffn_down_exps.weight", stacked)

    gguf_models.write_gguf(tmp_path / "model.gguf", values, weights, change=add)
    for path in (tmp_path / "model", tmp_path / "model.gguf"):
        kind = source_kind(path)
        assert kind is not None
        source = kind.open(path).weights
        for name, expected in {**weights, **more}.items():
            if expected.ndim == 1:
                np.testing.assert_array_equal(source.vector(name), expected)
                continue
            source.will_need(name)
            rows = len(expected)
            np.testing.assert_array_equal(source.rows(name, 0, rows), expected, err_msg=name)
            np.testing.assert_array_equal(source.rows(name, 1, rows - 1), expected[1 : rows - 1], err_msg=name)
            source.drop_rows(name, 1, rows - 1)
            np.testing.assert_array_equal(source.rows(name, 0, rows), expected, err_msg=name)
