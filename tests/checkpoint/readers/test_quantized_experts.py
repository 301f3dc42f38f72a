"""Experts in folders that other libraries quantised: each is read as the dense matrix of which it is a copy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import EXPERTS, write_json, write_safetensors
from made_folders import SHAPE, Stored, about, made_names, read_tensors, write_made

from qwen3cpu.loading.open import open_checkpoint

COUNT = 3
MLP = ".mlp."
LAYOUTS = [
    name for name in made_names() if not name.startswith(("mlx", "torch_save")) and MLP in str(about(name)["sha256"])
]
"""Layouts with a tensor for each expert. MLX stores the experts of a layer in one tensor."""


def as_experts(tensors: Stored) -> None:
    """Replace every tensor of the MLP by a copy for each expert."""
    for name in [name for name in tensors if MLP in name]:
        for expert in range(COUNT):
            tensors[name.replace(MLP, f"{MLP}experts.{expert}.")] = tensors[name]
        del tensors[name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_experts_are_read_as_dense_matrices_are(tmp_path: Path, layout: str) -> None:
    shape = EXPERTS | {"num_experts": COUNT, "moe_intermediate_size": SHAPE["intermediate_size"]}
    dense = write_made(tmp_path / "dense", layout)
    folder = write_made(tmp_path / "experts", layout, as_experts, **shape)
    made, others = (read_tensors(folder / f"model-0000{part}-of-00002.safetensors") for part in (1, 2))
    own = {name.partition("_proj")[0] for name in made}
    others = {name: tensor for name, tensor in others.items() if name.partition("_proj")[0] not in own}
    write_safetensors(folder / "model-00002-of-00002.safetensors", others)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"] = {
        name: f"model-0000{part}-of-00002.safetensors" for part, names in ((1, made), (2, others)) for name in names
    }
    write_json(folder / "model.safetensors.index.json", index)

    expected, found = (open_checkpoint(each, "f32", threads=1, cache=False).matrices for each in (dense, folder))
    compared = 0
    for name, matrix in found.items():
        *before, last = name.split(".")
        if "experts" in before:
            twin = expected[f"model.layers.0.mlp.{before[-1]}.{last}"]
            if name.replace(f"experts.{before[-2]}.", "") in about(layout)["sha256"]:
                assert np.array_equal(matrix.data, twin.data), name
                compared += 1
    assert compared >= COUNT
    assert found["model.layers.0.mlp.gate.weight"].format == "f32"
