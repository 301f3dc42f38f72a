"""Folders of mlx-lm with experts: all experts of a layer in one tensor, each read as a matrix of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import EXPERTS, to_dtype, write_checkpoint, write_safetensors
from made_folders import Stored, about, write_made

import qwen3cpu
from qwen3cpu.checkpoint.weight_source import original_matrix
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.loading.sources import open_unpacked

SHAPE = {**EXPERTS, "num_experts": 5, "num_hidden_layers": 3, "mlp_only_layers": [1]}
UP = "model.layers.0.mlp.switch_mlp.up_proj.weight"


def stack(folder: Path, prefix: str = "", change: Callable[[Stored], None] = lambda stored: None) -> Path:
    """Write a model as mlx-lm converts it without quantising: in BF16, one file."""
    written = write_checkpoint(folder, **SHAPE)
    stored: Stored = {}
    for name, values in written.tensors.items():
        if ".experts." not in name:
            stored[prefix + name] = ("BF16", to_dtype(values, "bfloat16")[0])
        elif ".experts.0." in name:
            each = [written.tensors[name.replace(".experts.0.", f".experts.{n}.")] for n in range(5)]
            stacked = to_dtype(np.stack(each), "bfloat16")[0]
            stored[prefix + name.replace("experts.0", "switch_mlp")] = ("BF16", stacked)
    change(stored)
    write_safetensors(folder / "model.safetensors", stored)
    return folder


@pytest.mark.parametrize("prefix", ["", "language_model."])
@pytest.mark.parametrize("quant", ["q4", "bf16"])
def test_the_model_is_that_of_separate_experts(tmp_path: Path, quant: str, prefix: str) -> None:
    write_checkpoint(tmp_path / "separate", **SHAPE)
    expected = open_checkpoint(tmp_path / "separate", quant, threads=1).matrices
    found = open_checkpoint(stack(tmp_path / "stacked", prefix), quant, threads=1).matrices
    assert list(found) == list(expected)
    for name, matrix in found.items():
        assert np.array_equal(matrix.data, expected[name].data), name


def test_a_stack_leaves_the_disk_with_the_last_of_its_experts(tmp_path: Path) -> None:
    folder = stack(tmp_path / "stacked")
    qwen3cpu.pack(folder, tmp_path / "usual.qwen3", threads=1)
    qwen3cpu.pack(folder, tmp_path / "low.qwen3", threads=1, low_disk=True)
    assert (tmp_path / "low.qwen3").read_bytes() == (tmp_path / "usual.qwen3").read_bytes()
    assert not (folder / "model.safetensors").exists()


def fewer(stored: Stored) -> None:
    stored[UP] = ("BF16", stored[UP][1][:4])


def more(stored: Stored) -> None:
    stored[UP] = ("BF16", np.concatenate([stored[UP][1], stored[UP][1][:1]]))


def flat(stored: Stored) -> None:
    stored[UP] = ("BF16", stored[UP][1].reshape(-1, stored[UP][1].shape[2]))


def other_width(stored: Stored) -> None:
    stored[UP] = ("BF16", stored[UP][1][:, :-8])


def both_forms(stored: Stored) -> None:
    stored[UP.replace("switch_mlp", "experts.2")] = ("BF16", stored[UP][1][2])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            fewer,
            r"expected tensor model\.layers\.0\.mlp\.experts\.4\.up_proj\.weight of shape \[40, 64\], found no such",
        ),
        (more, r"found tensor .*switch_mlp\.up_proj\.weight\[5\]"),
        (flat, r"expected tensor model\.layers\.0\.mlp\.experts\.0\.up_proj\.weight of shape"),
        (other_width, r"tensor .*switch_mlp\.up_proj\.weight\[0\]: expected shape \[40, 64\], found \[32, 64\]"),
        (both_forms, r"expected one tensor model\.layers\.0\.mlp\.experts\.2\.up_proj\.weight, found two"),
    ],
)
def test_stacks_that_are_no_experts_of_the_model(tmp_path: Path, change: Callable[[Stored], None], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        open_unpacked(stack(tmp_path / "stacked", change=change))


def test_settings_of_a_stack_are_those_of_its_experts(tmp_path: Path) -> None:
    """config.json names the stack by mlx-lm's module, with another number of bits than the rest."""

    def change(config: dict[str, Any]) -> None:
        modules = ["model.embed_tokens", "lm_head"]
        modules += [f"model.layers.0.self_attn.{part}_proj" for part in "qkvo"]
        modules += [f"model.layers.0.mlp.switch_mlp.{part}_proj" for part in ("gate", "up", "down")]
        config["quantization"] |= {**{module: {"group_size": 32, "bits": 4} for module in modules}, "bits": 8}

    weights = open_unpacked(write_made(tmp_path / "changed", "mlx_experts", config=change)).weights
    usual = open_unpacked(write_made(tmp_path / "usual", "mlx_experts")).weights
    assert json.loads((tmp_path / "changed" / "config.json").read_text())["quantization"]["bits"] == 8
    for name in about("mlx_experts")["sha256"]:
        np.testing.assert_array_equal(original_matrix(weights, name), original_matrix(usual, name))


def test_groups_of_experts_are_kept(tmp_path: Path) -> None:
    """Routers, which mlx-lm stores in 8 bits, become float32."""
    checkpoint = open_checkpoint(write_made(tmp_path / "model", "mlx_experts"), threads=1)
    formats = {name: matrix.format for name, matrix in checkpoint.matrices.items()}
    assert checkpoint.quant == "q4a32"
    assert {format for name, format in formats.items() if ".experts." in name} == {"q4a32"}
    assert formats["model.layers.0.mlp.gate.weight"] == "f32"
