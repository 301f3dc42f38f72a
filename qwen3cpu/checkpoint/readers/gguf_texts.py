"""The texts of a Qwen3 model in a GGUF file: configuration, tokenizer and template, in the form that a folder has.

Names of metadata are those that llama.cpp's converter writes for the architecture "qwen3".
"""

from __future__ import annotations

import json
from typing import Any, Final

from qwen3cpu.arguments import as_whole
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.gguf_parts import GgufModel
from qwen3cpu.checkpoint.json_fields import Fields, brief
from qwen3cpu.checkpoint.model_texts import ModelTexts, parse_texts
from qwen3cpu.checkpoint.purpose import GENERATION, Purpose
from qwen3cpu.checkpoint.readers.gguf_keys import check_keys, rope_scaling, sampling_defaults
from qwen3cpu.checkpoint.readers.gguf_tokenizer import Tokens
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, ROWS
from qwen3cpu.errors import CheckpointError, ConfigError

_LAST, _RANK = 3, 4  # kinds of pooling
CLASSIFIER: Final = "cls.output.weight"
"""The head of a reranker: rows for yes and no."""
_ENDS: Final = ("<|im_end|>", "<|endoftext|>")


def read_gguf_config(file: GgufModel) -> ModelConfig:
    """The configuration of a model. Raises ConfigError for another architecture and for numbers that cannot be."""
    return ModelConfig.from_dict(_config(file), str(file.path))


def read_gguf_texts(file: GgufModel) -> ModelTexts:
    """Everything of a model but its weights, in the form of a folder's files. Raises CheckpointError (ConfigError)."""
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
    """What the model was made for, by its kind of pooling: none, mean, cls, last or rank."""
    fields = Fields(file.metadata, str(file.path), ConfigError)
    pooling = fields.optional_integer("qwen3.pooling_type", -1, 1 << 30)
    if pooling in (None, -1, 0):
        return GENERATION
    if pooling == _LAST:
        return Purpose("embedding")
    if pooling != _RANK:
        raise fields.fail("qwen3.pooling_type", f"{_LAST} (last token, for embeddings) or {_RANK} (a reranker)")
    return Purpose("reranking", own_head=CLASSIFIER in file.tensors)


def _config(file: GgufModel) -> dict[str, Any]:
    """config.json for the metadata."""
    values = file.metadata
    fields = Fields(values, str(file.path), ConfigError)
    # First of all: an adapter has the keys of its model.
    if values.get("general.type", "model") != "model":
        raise fields.fail("general.type", "'model' (merge an adapter into its model first)")
    if fields.text("general.architecture") != "qwen3":
        raise fields.fail("general.architecture", "'qwen3' (the dense Qwen3 models)")

    def number(key: str, most: int = 1 << 30) -> int:
        return fields.integer(f"qwen3.{key}", 1, most)

    heads, hidden = number("attention.head_count"), number("embedding_length")
    head_dim = fields.optional_integer("qwen3.attention.key_length", 1, 1 << 20) or hidden // heads
    if fields.optional_integer("qwen3.attention.value_length", 1, 1 << 20, head_dim) != head_dim:
        raise fields.fail("qwen3.attention.value_length", f"that of keys, {head_dim}")
    check_keys(fields, head_dim)
    embedding = file.tensors.get(ROWS[EMBEDDING].gguf)
    if embedding is None:
        raise CheckpointError(f"{file.path}: expected tensor {ROWS[EMBEDDING].gguf}, found no such tensor")
    query_bias = ROWS["self_attn.q_proj.bias"].gguf
    return {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.optional_integer("qwen3.attention.head_count_kv", 1, 4096, heads),
        "head_dim": head_dim,
        "vocab_size": embedding.shape[0],
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": fields.number("qwen3.attention.layer_norm_rms_epsilon", 0.0, 1.0, above_low=True),
        "rope_theta": fields.number("qwen3.rope.freq_base", 1.0, 1e12, above_low=True),
        "rope_scaling": rope_scaling(fields),
        "tie_word_embeddings": ROWS[HEAD].gguf not in file.tensors,
        "attention_bias": any(name.endswith(query_bias) for name in file.tensors),
        "eos_token_id": _eos(values),
    }


def _eos(values: dict[str, Any]) -> int | None:
    id_ = as_whole(values.get("tokenizer.ggml.eos_token_id"))
    return id_ if id_ is not None and 0 <= id_ < 2**31 else None
