"""Writes the metadata of a GGUF file, with the keys that llama.cpp's converter writes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.pre_tokenizers import PRE_TOKENIZERS, pre_tokenizer_name
from qwen3cpu.errors import CheckpointError
from qwen3cpu.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

_LOOKS_SPECIAL: Final = re.compile(r"<\|.*\|>|<｜.*｜>", re.DOTALL)
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_LAST_TOKEN: Final = 3  # of the kinds of pooling


def add_metadata(writer: GGUFWriter, texts: ModelTexts, name: str, file_type: int) -> None:
    """Add the keys of a model for generation or embedding. CheckpointError: llama.cpp cannot represent the model."""
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    _add_shape(writer, texts.config, name)
    _add_sampling(writer, texts)
    _add_tokenizer(writer, texts, name)
    if texts.purpose.task == "embedding":
        writer.add_uint32(f"{writer.arch}.pooling_type", _LAST_TOKEN)


def _add_shape(writer: GGUFWriter, config: ModelConfig, name: str) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if config.experts is not None:
        writer.add_expert_count(config.experts.count)
        writer.add_expert_used_count(config.experts.chosen)
        writer.add_expert_feed_forward_length(config.experts.width)
    scaling = config.rope_scaling
    if scaling is None:
        return
    if not scaling.truncate:
        raise CheckpointError(
            f"{name}: rope_scaling: truncate: expected true, which llama.cpp always does, found false"
        )
    key = f"{writer.arch}.rope.scaling"
    writer.add_string(f"{key}.type", "yarn")
    writer.add_float32(f"{key}.factor", scaling.factor)
    writer.add_uint32(f"{key}.original_context_length", scaling.original_max_position_embeddings)
    writer.add_float32(f"{key}.yarn_beta_fast", scaling.beta_fast)
    writer.add_float32(f"{key}.yarn_beta_slow", scaling.beta_slow)
    usual = 0.1 * math.log(scaling.factor) + 1.0
    if not math.isclose(scaling.scale(), usual, rel_tol=1e-12):
        writer.add_float32(f"{key}.attn_factor", scaling.scale() / usual)


def _add_sampling(writer: GGUFWriter, texts: ModelTexts) -> None:
    defaults = texts.generation
    for key, value in (
        ("temp", defaults.temperature),
        ("top_p", defaults.top_p),
        ("min_p", defaults.min_p),
        ("penalty_repeat", defaults.repetition_penalty),
    ):
        if value is not None:
            writer.add_float32(f"general.sampling.{key}", value)
    if defaults.top_k is not None:
        writer.add_int32("general.sampling.top_k", defaults.top_k)


def _add_tokenizer(writer: GGUFWriter, texts: ModelTexts, name: str) -> None:
    source = f"{name}: tokenizer.json"
    tokenizer = Tokenizer(texts.tokenizer_json, texts.tokenizer_config, source=name)
    described = parse_object(texts.tokenizer_json, source)
    pre = pre_tokenizer_name(described)
    if pre is None:
        raise CheckpointError(
            f"{source}: pre_tokenizer: expected one that llama.cpp has a name for, such as those of "
            f"{', '.join(PRE_TOKENIZERS)}, found another"
        )
    if tokenizer.size > texts.config.vocab_size:
        raise CheckpointError(
            f"{source}: expected a row of the embedding for each of {tokenizer.size} tokens, found "
            f"{texts.config.vocab_size} rows"
        )
    words, types = _tokens(described, tokenizer, texts.config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(words)
    writer.add_token_types(types)
    merges = described["model"].get("merges") or []
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    _add_special_tokens(writer, texts, tokenizer)
    if texts.chat_template is not None:
        writer.add_chat_template(texts.chat_template)


def _tokens(described: Mapping[str, Any], tokenizer: Tokenizer, size: int) -> tuple[list[str], list[int]]:
    """The spelling and the type of every id."""
    words = [f"[PAD{id_}]" for id_ in range(size)]
    types = [_UNUSED] * size
    for word, id_ in described["model"]["vocab"].items():
        words[id_], types[id_] = word, _NORMAL
    for word, id_ in tokenizer.control_tokens.items():
        control = id_ in tokenizer.special_ids or _LOOKS_SPECIAL.fullmatch(word)
        words[id_], types[id_] = word, _CONTROL if control else _USER_DEFINED
    return words, types


def _add_special_tokens(writer: GGUFWriter, texts: ModelTexts, tokenizer: Tokenizer) -> None:
    def id_of(key: str) -> int | None:
        return tokenizer.control_tokens.get(tokenizer.named_tokens.get(key, ""))

    embedding = texts.purpose.task == "embedding"
    end = tokenizer.endoftext if embedding else id_of("eos_token")
    if end is None:
        end = next(iter(texts.config.eos_token_ids), None)
    for key, id_ in (("bos", id_of("bos_token")), ("eos", end), ("padding", id_of("pad_token"))):
        if id_ is not None:
            writer.add_uint32(f"tokenizer.ggml.{key}_token_id", id_)
    writer.add_add_bos_token(texts.tokenizer_config.get("add_bos_token") is True)
    writer.add_add_eos_token(embedding)
