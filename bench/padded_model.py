"""Pad the matrices of a model folder with zeros to whole blocks of 256 columns, for types of GGUF that need them.

The padded model computes the same as the original. An RMS norm over H + Z values, Z of them zeros, finds a mean square
that is `H / (H + Z)` of the original's. So epsilon is multiplied by this factor, and the norm's weights by its root.
Added heads have zero weights, so their values and outputs are zero.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from qwen3cpu.checkpoint.tensors import tensors_of
from qwen3cpu.checkpoint.weight_source import original_matrix
from qwen3cpu.loading.sources import open_unpacked

BLOCK = 256
KEPT = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")


def write_padded(source: Path, folder: Path) -> None:
    """Write the padded model of a folder in float32."""
    opened = open_unpacked(source)
    config, weights = opened.config, opened.weights
    if BLOCK % config.head_dim:
        raise ValueError(f"head_dim: expected a divisor of {BLOCK}, found {config.head_dim}")
    for_each = config.num_attention_heads // config.num_key_value_heads
    heads = config.num_key_value_heads
    while heads * for_each * config.head_dim % BLOCK:
        heads += 1
    hidden, inner = (-(-size // BLOCK) * BLOCK for size in (config.hidden_size, config.intermediate_size))
    share = config.hidden_size / hidden
    changes = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads * for_each,
        "num_key_value_heads": heads,
        "rms_norm_eps": config.rms_norm_eps * share,
    }
    padded = {}
    for tensor, wider in zip(tensors_of(config), tensors_of(replace(config, **changes)), strict=True):
        values = original_matrix(weights, tensor.name) if tensor.is_matrix else weights.vector(tensor.name)
        if tensor.shape == (config.hidden_size,) and tensor.row.role == "norm":
            values = values * np.float32(share**0.5)
        padded[tensor.name] = np.zeros(wider.shape, np.float32)
        padded[tensor.name][tuple(map(slice, values.shape))] = values
    folder.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (source / name).exists():
            shutil.copy(source / name, folder)
    described = json.loads((source / "config.json").read_text()) | changes | {"torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(described, indent=2))
    save_file(padded, folder / "model.safetensors")
