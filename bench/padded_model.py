"""A model folder whose matrices are padded with zeros to whole blocks of 256 columns, for types of GGUF that need them.

The padded model computes what the original does: an RMS norm over H + Z values of which Z are zeros finds a mean square
that is H / (H + Z) of the original's, so epsilon is multiplied by that and the norm's weights by its root. Heads that
are added have no weights, so their values and outputs are zero.
"""

from __future__ import annotations

import json
import shutil
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
    queries = config.num_attention_heads // config.num_key_value_heads
    heads = config.num_key_value_heads
    while heads * queries * config.head_dim % BLOCK:
        heads += 1
    hidden, inner = (-(-size // BLOCK) * BLOCK for size in (config.hidden_size, config.intermediate_size))
    share = config.hidden_size / hidden
    described = json.loads((source / "config.json").read_text())
    described |= {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads * queries,
        "num_key_value_heads": heads,
        "rms_norm_eps": config.rms_norm_eps * share,
        "torch_dtype": "float32",
    }
    sizes = {
        config.hidden_size: hidden,
        config.intermediate_size: inner,
        config.query_size: heads * queries * config.head_dim,
        config.key_size: heads * config.head_dim,
    }
    if len(sizes) < 4 and not (config.hidden_size == config.query_size and hidden == sizes[config.query_size]):
        raise ValueError("expected sizes that can be told apart")
    padded = {}
    for tensor in tensors_of(config):
        if tensor.is_matrix:
            values = original_matrix(weights, tensor.name)
            shape = tuple(
                size if size == config.vocab_size and axis == 0 else sizes[size]
                for axis, size in enumerate(tensor.shape)
            )
        elif tensor.shape == (config.head_dim,):
            values, shape = weights.vector(tensor.name), tensor.shape
        else:
            values, shape = weights.vector(tensor.name) * np.float32(share**0.5), (hidden,)
        out = np.zeros(shape, np.float32)
        out[tuple(slice(size) for size in values.shape)] = values
        padded[tensor.name] = out
    folder.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (source / name).exists():
            shutil.copy(source / name, folder)
    (folder / "config.json").write_text(json.dumps(described, indent=2))
    save_file(padded, folder / "model.safetensors")
