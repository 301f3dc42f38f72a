"""Converts the texts of a Qwen3 model in a GGUF file (configuration, tokenizer, template) to a model folder's files.

The metadata keys are those that llama.cpp's converter writes for the architectures "qwen3" and "qwen3moe".
"""

from __future__ import annotations

import json
from typing import Any, Final

from qwen3cpu.arguments import as_whole
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.experts import ARCHITECTURE, MODEL_TYPE
from qwen3cpu.checkpoint.gguf_parts import GgufModel
from qwen3cpu.checkpoint.json_fields import Fields, brief
from qwen3cpu.checkpoint.model_texts import ModelTexts, parse_texts
from qwen3cpu.checkpoint.purpose import GENERATION, Purpose
from qwen3cpu.checkpoint.readers.gguf_keys import (
    WITH_EXPERTS,
    architecture,
    check_keys,
    rope_scaling,
    sampling_defaults,
)
from qwen3cpu.checkpoint.readers.gguf_tokenizer import Tokens
from qwen3cpu.checkpoint.tensors import EMBEDDING, GGUF_LAYERS, HEAD, ROUTER, ROWS
from qwen3cpu.errors import CheckpointError, ConfigError

_LAST, _RANK = 3, 4  # kinds of pooling
CLASSIFIER: Final = "cls.output.weight"
"""The head of a reranker, with a row each for yes and no."""
_ENDS: Final = ("<|im_end|>", "<|endoftext|>")


def read_gguf_config(file: GgufModel) -> ModelConfig:
    """Read the configuration of a model. Raises ConfigError for another architecture and for invalid values."""
    return ModelConfig.from_dict(_config(file), str(file.path))


def read_gguf_texts(file: GgufModel) -> ModelTexts:
    """Read everything except the weights, in the form of a folder's files. Raises CheckpointError (ConfigError)."""
    tokens = Tokens(file)
    generation = sampling_defaults(file.metadata, str(file.path))
    # A GGUF file names one end token; the authors' generation_config.json names both of these.
    ends = {tokens.texts.index(text) for text in _ENDS if text in tokens.added.values()}
    generation["eos_token_id"] = sorted(ends | tokens.named_ids("eos")) or None
    template = file.metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{file.path}: tokenizer.chat_template: expected a string, found {brief(template)}")
    files = {
        "config.json": _config(file),
        "generation_config.json": generation,
        "tokenizer.json": tokens.tokenizer_json(),
        "tokenizer_config.json": tokens.tokenizer_config(),
    }
    encoded = {name: json.dumps(values, ensure_ascii=False).encode() for name, values in files.items()}
    has_head = ROWS[HEAD].gguf in file.tensors
    return parse_texts(encoded, template, str(file.path)).for_purpose(_purpose(file), has_head=has_head)


def _purpose(file: GgufModel) -> Purpose:
    """Find out what the model was made for from its kind of pooling: none, mean, cls, last or rank."""
    fields = Fields(file.metadata, str(file.path), ConfigError)
    key = f"{architecture(fields)}.pooling_type"
    pooling = fields.optional_integer(key, -1, 1 << 30)
    if pooling in (None, -1, 0):
        return GENERATION
    if pooling == _LAST:
        return Purpose("embedding")
    if pooling != _RANK:
        raise fields.fail(key, f"{_LAST} (last token, for embeddings) or {_RANK} (a reranker)")
    return Purpose("reranking", own_head=CLASSIFIER in file.tensors)


def _config(file: GgufModel) -> dict[str, Any]:
    """Make config.json from the metadata."""
    values = file.metadata
    fields = Fields(values, str(file.path), ConfigError)
    # Checked first, because an adapter also has the keys of its model.
    if values.get("general.type", "model") != "model":
        raise fields.fail("general.type", "'model' (merge an adapter into its model first)")
    prefix = f"{architecture(fields)}."

    def number(key: str, most: int = 1 << 30) -> int:
        return fields.integer(prefix + key, 1, most)

    heads, hidden = number("attention.head_count"), number("embedding_length")
    head_dim = fields.optional_integer(prefix + "attention.key_length", 1, 1 << 20) or hidden // heads
    if fields.optional_integer(prefix + "attention.value_length", 1, 1 << 20, head_dim) != head_dim:
        raise fields.fail(prefix + "attention.value_length", f"that of keys, {head_dim}")
    check_keys(fields, head_dim)
    embedding = file.tensors.get(ROWS[EMBEDDING].gguf)
    if embedding is None:
        raise CheckpointError(f"{file.path}: expected tensor {ROWS[EMBEDDING].gguf}, found no such tensor")
    query_bias = ROWS["self_attn.q_proj.bias"].gguf
    return {
        **_kind_of_layers(file, fields, prefix),
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.optional_integer(prefix + "attention.head_count_kv", 1, 4096, heads),
        "head_dim": head_dim,
        "vocab_size": embedding.shape[0],
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": fields.number(prefix + "attention.layer_norm_rms_epsilon", 0.0, 1.0, above_low=True),
        "rope_theta": fields.number(prefix + "rope.freq_base", 1.0, 1e12, above_low=True),
        "rope_scaling": rope_scaling(fields),
        "tie_word_embeddings": ROWS[HEAD].gguf not in file.tensors,
        "attention_bias": any(name.endswith(query_bias) for name in file.tensors),
        "eos_token_id": _eos(values),
    }


def _kind_of_layers(file: GgufModel, fields: Fields, prefix: str) -> dict[str, Any]:
    """Make the keys for experts. llama.cpp always scales the weights of the chosen experts to add up to 1."""
    if prefix != f"{WITH_EXPERTS}.":
        return {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    router = ROWS[ROUTER].gguf
    layers = range(fields.integer(prefix + "block_count", 1, 1 << 30))
    return {
        "model_type": MODEL_TYPE,
        "architectures": [ARCHITECTURE],
        "num_experts": fields.integer(prefix + "expert_count", 1, 1 << 30),
        "num_experts_per_tok": fields.integer(prefix + "expert_used_count", 1, 1 << 30),
        "moe_intermediate_size": fields.integer(prefix + "expert_feed_forward_length", 1, 1 << 30),
        "norm_topk_prob": True,
        "mlp_only_layers": [layer for layer in layers if f"{GGUF_LAYERS}{layer}.{router}" not in file.tensors],
    }


def _eos(values: dict[str, Any]) -> int | None:
    id_ = as_whole(values.get("tokenizer.ggml.eos_token_id"))
    return id_ if id_ is not None and 0 <= id_ < 2**31 else None
