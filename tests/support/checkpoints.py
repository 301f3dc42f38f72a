"""Random Qwen3 checkpoints in Hugging Face layout, for every test that needs one. Needs only NumPy.

`write_checkpoint(folder, hidden_size=48, ...)` writes config.json, generation_config.json, the safetensors file or
files, tokenizer.json, tokenizer_config.json and the chat template. It returns the weights as float32 after rounding to
the file's dtype, so that a test can compute with the exact values of the file. The same seed gives the same files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from checkpoint_texts import CHAT_TEMPLATE, TOKENIZER_SIZE, control_ids, tokenizer_config_dict, tokenizer_dict
from numpy.typing import NDArray

VOCAB_SIZE = -(-TOKENIZER_SIZE // 32) * 32 + 32
"""Default rows of the embedding: some more than the tokenizer has ids, as in the released models."""


@dataclass(frozen=True)
class Written:
    """A checkpoint on disk and its contents."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, NDArray[np.float32]]
    """Every tensor of the files, by HF name, as float32 after rounding to the file's dtype."""


# Configuration and weights

ODD_SHAPE: dict[str, int] = {
    "hidden_size": 100,
    "intermediate_size": 171,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 421,
    "max_position_embeddings": 1024,
}
"""Sizes that are not multiples of any block size, so that all tails are tested."""


EXPERTS: dict[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "tie_word_embeddings": False,
}
"""The keys of config.json that give a model experts."""


def qwen3_config(**overrides: Any) -> dict[str, Any]:
    """config.json of a tiny model; keyword arguments replace keys, and a value of `...` removes the key."""
    ids = control_ids()
    config: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "max_position_embeddings": 512,
        "max_window_layers": 2,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": VOCAB_SIZE,
    }
    config.update(overrides)
    return {key: value for key, value in config.items() if value is not ...}


def transformers5_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration in the form of transformers 5: rope_parameters with rope_theta inside, dtype."""
    new = {key: value for key, value in config.items() if key not in ("rope_theta", "rope_scaling", "torch_dtype")}
    scaling = dict(config.get("rope_scaling") or {})
    kind = scaling.pop("rope_type", scaling.pop("type", "default"))
    new["rope_parameters"] = {"rope_theta": config["rope_theta"], "rope_type": kind, **scaling}
    new["dtype"] = config.get("torch_dtype", "bfloat16")
    return new


def tensor_shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(HF name, shape) of every tensor of a model, in the order of its layers."""
    hidden, dim = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (hidden,)
        for name, shape in (
            ("q_proj", (queries, hidden)),
            ("k_proj", (keys, hidden)),
            ("v_proj", (keys, hidden)),
            ("o_proj", (hidden, queries)),
        ):
            yield f"{at}self_attn.{name}.weight", shape
            if config["attention_bias"]:
                yield f"{at}self_attn.{name}.bias", shape[:1]
        yield at + "self_attn.q_norm.weight", (dim,)
        yield at + "self_attn.k_norm.weight", (dim,)
        yield at + "post_attention_layernorm.weight", (hidden,)
        yield from mlp_shapes(config, layer)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)


def mlp_shapes(config: Mapping[str, Any], layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(HF name, shape) of every tensor of a layer's MLP."""
    hidden, at, wide, mlps = config["hidden_size"], f"model.layers.{layer}.mlp.", config["intermediate_size"], [""]
    if has_experts(config, layer):
        yield at + "gate.weight", (config["num_experts"], hidden)
        wide = config["moe_intermediate_size"]
        mlps = [f"experts.{number}." for number in range(config["num_experts"])]
    for mlp in mlps:
        yield at + mlp + "gate_proj.weight", (wide, hidden)
        yield at + mlp + "up_proj.weight", (wide, hidden)
        yield at + mlp + "down_proj.weight", (hidden, wide)


def has_experts(config: Mapping[str, Any], layer: int) -> bool:
    """Whether a layer of a config.json has experts, as transformers' Qwen3MoeDecoderLayer decides."""
    sparse = config.get("num_experts", 0) > 0 and (layer + 1) % config.get("decoder_sparse_step", 1) == 0
    return sparse and layer not in (config.get("mlp_only_layers") or [])


def experts_config(**overrides: Any) -> dict[str, Any]:
    """config.json of a tiny model with experts; arguments as for qwen3_config."""
    return qwen3_config(**EXPERTS | overrides)


GAINS = {"norm": 3.0, "q_norm": 2.5, "o_proj": 4.0, "down_proj": 4.0}
"""Scale of y for x of unit scale, if not 1. The last norm sets that of the logits, and q_norm that of the scores."""


def random_tensors(config: Mapping[str, Any], seed: int = 0) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Weights whose logits have a standard deviation of about 3.

    The layers add much more to the stream than a token's own embedding. With equal parts a tied model would only repeat
    its last token, and greedy continuations would prove nothing.
    """
    rng = np.random.default_rng(seed)
    for name, shape in tensor_shapes(config):
        values = rng.standard_normal(shape, dtype=np.float32)
        gain = np.float32(GAINS.get(name.split(".")[-2], 1.0))
        if name.endswith("norm.weight"):
            yield name, gain * (np.float32(1) + np.float32(0.1) * values)
        elif name.endswith(".bias"):
            yield name, np.float32(0.2) * values
        else:
            yield name, gain * values / np.float32(np.sqrt(shape[-1]))


# Safetensors

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """float32 -> bfloat16 bits, rounded to nearest, ties to even. The input must be finite."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def bfloat16_values(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 bits -> float32, exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_dtype(values: NDArray[np.float32], dtype: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """(array with the bytes for the file, its values in float32)."""
    if dtype == "float32":
        return values, values
    if dtype == "float16":
        half = values.astype(np.float16)
        return half, half.astype(np.float32)
    bits = bfloat16_bits(values)
    return bits, bfloat16_values(bits)


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, NDArray[Any]]]) -> None:
    """Write name -> (safetensors dtype such as "BF16", array with the bytes) as one file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for _, array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON in UTF-8."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")


def write_weights(
    folder: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str, shards: int
) -> dict[str, NDArray[np.float32]]:
    """Write model.safetensors, or `shards` files with their index; returns the values after rounding to `dtype`."""
    files: list[dict[str, tuple[str, NDArray[Any]]]] = [{} for _ in range(shards)]
    rounded = {}
    for i, (name, values) in enumerate(tensors.items()):
        stored, rounded[name] = to_dtype(values, dtype)
        files[i * shards // len(tensors)][name] = (DTYPES[dtype], stored)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", files[0])
        return rounded
    weight_map = {}
    for i, file in enumerate(files):
        name = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        write_safetensors(folder / name, file)
        weight_map.update(dict.fromkeys(file, name))
    total = sum(array.nbytes for file in files for _, array in file.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    return rounded


def write_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "bfloat16",
    shards: int = 1,
    transformers5: bool = False,
    chat_template: str | None = CHAT_TEMPLATE,
    template_in_config: bool = False,
    generation_config: Mapping[str, Any] | None = None,
    tensors: Mapping[str, NDArray[np.float32]] | None = None,
    **config_overrides: Any,
) -> Written:
    """Write a checkpoint into `folder` (made if missing).

    `dtype` is "float32", "float16" or "bfloat16". `transformers5` writes config.json in the newer spelling.
    `chat_template` goes into chat_template.jinja, or into tokenizer_config.json with `template_in_config`; None writes
    no template. `generation_config` replaces the default one; an empty mapping writes no file. `tensors` are used
    instead of random ones. `config_overrides` are keys of config.json, see qwen3_config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = qwen3_config(torch_dtype=dtype, **config_overrides)
    written = dict(tensors) if tensors is not None else dict(random_tensors(config, seed))
    rounded = write_weights(folder, written, dtype, shards)
    config = transformers5_config(config) if transformers5 else config
    write_json(folder / "config.json", config)
    if generation_config is None:
        ids = control_ids()
        generation_config = {
            "do_sample": True,
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "pad_token_id": ids["<|endoftext|>"],
            "temperature": 0.6,
            "top_k": 20,
            "top_p": 0.95,
        }
    if generation_config:
        write_json(folder / "generation_config.json", dict(generation_config))
    write_json(folder / "tokenizer.json", tokenizer_dict())
    tokenizer_config = tokenizer_config_dict()
    if chat_template is not None and template_in_config:
        tokenizer_config["chat_template"] = chat_template
    elif chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    return Written(folder, config, rounded)
