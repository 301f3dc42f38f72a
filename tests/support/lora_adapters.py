"""Random LoRA adapters on disk, in PEFT's layout.

`write_adapter(folder, config, kind)` writes one for a model with this config.json. `KINDS` has examples of all kinds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import DTYPES, tensor_shapes, to_dtype, write_json, write_safetensors
from numpy.typing import NDArray

import qwen3cpu

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"r": 8, "target_modules": LINEAR},
    "rslora": {"r": 5, "lora_alpha": 13, "use_rslora": True, "target_modules": ["q_proj", "v_proj", "up_proj"]},
    "dora": {"r": 16, "lora_alpha": 20, "use_dora": True, "target_modules": LINEAR},
    "one": {"r": 1, "target_modules": ["down_proj"]},
    "widest": {"r": 256, "lora_alpha": 64, "target_modules": ["k_proj", "gate_proj", "o_proj"]},
    "patterns": {
        "r": 8,
        "target_modules": LINEAR,
        "rank_pattern": {"q_proj": 3, r"layers\.1\.mlp\.up_proj": 17},
        "alpha_pattern": {"v_proj": 40},
    },
    "embedding": {"r": 8, "target_modules": ["embed_tokens", "o_proj"]},
    "head": {"r": 9, "target_modules": ["lm_head", "k_proj"]},
    "ends": {"r": 12, "use_dora": True, "target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "saved": {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head", "norm"]},
    "some_layers": {"r": 8, "target_modules": LINEAR, "layers_to_transform": [1]},
    "regex": {"r": 8, "target_modules": r".*layers\.0\..*(gate|up)_proj"},
    "excluded": {"r": 8, "target_modules": LINEAR, "exclude_modules": ["down_proj"]},
}
"""Settings of adapter_config.json by a name. `write_adapter` makes the tensors for them."""


def peft_settings(kind: Mapping[str, Any]) -> dict[str, Any]:
    """adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "somewhere/else",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
        "target_parameters": None,
        **kind,
    }


def is_target(kind: Mapping[str, Any], module: str) -> bool:
    """Whether a module of a Qwen3ForCausalLM gets low-rank matrices, for the settings of KINDS."""
    targets = kind["target_modules"]
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    layers = kind.get("layers_to_transform")
    last = module.rpartition(".")[2]
    return (
        last in targets
        and last not in kind.get("exclude_modules", [])
        and (layers is None or any(f".{layer}." in module for layer in layers))
    )


def is_saved(kind: Mapping[str, Any], module: str) -> bool:
    """Whether the adapter has the whole matrix of a module."""
    return any(module.endswith(name) for name in kind.get("modules_to_save") or [])


def adapter_tensors(
    config: Mapping[str, Any], kind: Mapping[str, Any], seed: int, size: float = 0.1
) -> dict[str, NDArray[np.float32]]:
    """Name in adapter_model.safetensors -> values. size: standard deviation of A and B."""
    rng = np.random.default_rng(seed)
    shapes = dict(tensor_shapes(config))
    shapes.setdefault(f"{HEAD}.weight", shapes[f"{EMBEDDING}.weight"])
    tensors: dict[str, NDArray[np.float32]] = {}

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        prefix = f"base_model.model.{module}."
        if is_saved(kind, module):
            scale = 1 / np.sqrt(shape[-1]) if len(shape) == 2 else 0.3
            tensors[prefix + "weight"] = (len(shape) == 1) + np.float32(scale) * normal(*shape)
        elif len(shape) == 2 and is_target(kind, module):
            patterns = kind.get("rank_pattern", {})
            rank = next((each for key, each in patterns.items() if re.search(f"{key}$", module)), kind["r"])
            rows, cols = shape[::-1] if module == EMBEDDING else shape
            a, b = (f"lora_embedding_{x}" if module == EMBEDDING else f"lora_{x}.weight" for x in "AB")
            tensors[prefix + a], tensors[prefix + b] = size * normal(rank, cols), size * normal(rows, rank)
            if kind.get("use_dora"):
                tensors[prefix + "lora_magnitude_vector"] = 1 + np.float32(0.2) * np.abs(normal(rows))
    return tensors


def write_adapter(
    folder: Path,
    config: Mapping[str, Any],
    kind: Mapping[str, Any],
    *,
    seed: int = 0,
    dtype: str = "float32",
    size: float = 0.1,
    tensors: Mapping[str, NDArray[np.float32]] | None = None,
) -> Path:
    """Write an adapter into `folder` (made if missing), and return it. tensors: used instead of random ones."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "adapter_config.json", peft_settings(kind))
    values = adapter_tensors(config, kind, seed, size) if tensors is None else tensors
    stored = {name: (DTYPES[dtype], to_dtype(each, dtype)[0]) for name, each in values.items()}
    write_safetensors(folder / "adapter_model.safetensors", stored)
    return folder


def write_tiny_adapter(folder: Path) -> Path:
    """An adapter for "tiny", the model inside the package, that changes its answers."""
    return write_adapter(folder, model_shape(qwen3cpu.load("tiny", threads=1)), KINDS["plain"], size=0.2)


def model_shape(model: qwen3cpu.Model) -> dict[str, Any]:
    """The keys of config.json that the functions here need, for a loaded model."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "head_dim", "num_attention_heads")
    names += ("num_key_value_heads", "vocab_size", "attention_bias", "tie_word_embeddings")
    return {name: getattr(model.config, name) for name in names}


def write_all(root: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """One adapter of each kind, by its name."""
    return {
        name: write_adapter(root / name, config, kind, seed=seed) for seed, (name, kind) in enumerate(KINDS.items())
    }
