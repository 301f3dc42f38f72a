"""The texts of a Qwen3 model in a GGUF file: configuration, tokenizer and template, in the form that a folder has.

Names of metadata are those that llama.cpp's converter writes for the architecture "qwen3".
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

from qwen3cpu.arguments import as_whole
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.checkpoint.json_fields import Fields, brief
from qwen3cpu.checkpoint.model_texts import ModelTexts, parse_texts
from qwen3cpu.checkpoint.purpose import GENERATION, Purpose
from qwen3cpu.checkpoint.readers.gguf_keys import check_keys, rope_scaling
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, ROWS
from qwen3cpu.errors import CheckpointError, ConfigError

_SAMPLING_KEYS: Final = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
# The pre-tokenizers of llama.cpp that cut as Qwen2's does.
_QWEN2_SPLITS: Final = ("qwen2", "deepseek-r1-qwen")
_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_LAST, _RANK = 3, 4  # kinds of pooling
CLASSIFIER: Final = "cls.output.weight"
"""The head of a reranker: rows for yes and no."""
_ENDS: Final = ("<|im_end|>", "<|endoftext|>")


def read_gguf_config(file: GgufFile) -> ModelConfig:
    """The configuration of a model. Raises ConfigError for another architecture and for numbers that cannot be."""
    return ModelConfig.from_dict(_config(file), str(file.path))


def read_gguf_texts(file: GgufFile) -> ModelTexts:
    """Everything of a model but its weights, in the form of a folder's files. Raises CheckpointError (ConfigError)."""
    tokens = _Tokens(file)
    generation: dict[str, Any] = {
        ours: file.metadata[f"general.sampling.{theirs}"]
        for theirs, ours in _SAMPLING_KEYS.items()
        if f"general.sampling.{theirs}" in file.metadata
    }
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


def _purpose(file: GgufFile) -> Purpose:
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


def _config(file: GgufFile) -> dict[str, Any]:
    """config.json for the metadata."""
    values = file.metadata
    fields = Fields(values, str(file.path), ConfigError)
    # First of all: a part but the first has no other keys, and an adapter has those of its model.
    if values.get("split.count", 1) not in (0, 1):
        raise fields.fail(
            "split.count",
            "a whole model in one file; join the parts with `llama-gguf-split --merge FIRST_PART OUTPUT`",
        )
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


class _Tokens:
    """The vocabulary: `texts` by id, and those that are added tokens: `added`, id -> text."""

    def __init__(self, file: GgufFile) -> None:
        self._fields = fields = Fields(file.metadata, str(file.path), CheckpointError)
        if fields.text("tokenizer.ggml.model") != "gpt2":
            raise fields.fail("tokenizer.ggml.model", "'gpt2' (byte-level BPE)")
        if fields.text("tokenizer.ggml.pre") not in _QWEN2_SPLITS:
            raise fields.fail("tokenizer.ggml.pre", "'qwen2' (Qwen's pre-tokenizer)")
        self.texts = self._list("tokenizer.ggml.tokens", str)
        self._merges = self._list("tokenizer.ggml.merges", str)
        self._types = self._list("tokenizer.ggml.token_type", int)
        if len(self._types) != len(self.texts):
            raise fields.fail("tokenizer.ggml.token_type", f"a type for each of {len(self.texts)} tokens")
        unknown = set(self._types) - {_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED}
        if unknown:
            raise CheckpointError(
                f"{fields.source}: tokenizer.ggml.token_type: expected normal, control, user-defined and unused "
                f"tokens, found type {min(unknown)}"
            )
        self.added = {id_: self.texts[id_] for id_, kind in enumerate(self._types) if kind in (_CONTROL, _USER_DEFINED)}

    def _list(self, key: str, kind: type) -> list[Any]:
        values = self._fields.values.get(key)
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise self._fields.fail(key, f"a list of {'strings' if kind is str else 'numbers'}")
        return values

    def named_ids(self, role: str) -> set[int]:
        """The id of "eos", "bos" or "padding", where there is one: -1 and 2**32 - 1 say that there is none."""
        id_ = as_whole(self._fields.values.get(f"tokenizer.ggml.{role}_token_id"))
        return {id_} if id_ is not None and 0 <= id_ < len(self.texts) else set()

    def tokenizer_config(self) -> dict[str, Any]:
        """tokenizer_config.json."""
        roles = {"eos_token": "eos", "bos_token": "bos", "pad_token": "padding"}
        return {token: self.texts[id_] for token, role in roles.items() for id_ in self.named_ids(role)}

    def tokenizer_json(self) -> dict[str, Any]:
        """tokenizer.json: the vocabulary in the frame that all Qwen2 and Qwen3 models have."""
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        split = {"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Isolated", "invert": False}
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": id_, "content": text, **flags, "special": self._types[id_] == _CONTROL}
                for id_, text in self.added.items()
            ],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "post_processor": level,
            "decoder": level,
            "model": {"type": "BPE", "vocab": self._vocabulary(), "merges": self._pairs()},
        }

    def _vocabulary(self) -> dict[str, int]:
        """Text -> id of the normal tokens. Added tokens stand here too if their ids do not follow: those of a
        tokenizer.json are counted on, unless the vocabulary has the text.
        """
        ids = [id_ for id_, kind in enumerate(self._types) if kind == _NORMAL]
        if list(self.added) != list(range(len(ids), len(ids) + len(self.added))):
            ids += self.added
        vocabulary = {self.texts[id_]: id_ for id_ in ids}
        if len(vocabulary) != len(ids):
            text, _ = Counter(self.texts[id_] for id_ in ids).most_common(1)[0]
            raise CheckpointError(
                f"{self._fields.source}: tokenizer.ggml.tokens: token {text!r} appears more than once"
            )
        return vocabulary

    def _pairs(self) -> list[list[str]]:
        pairs = [merge.split(" ") for merge in self._merges]
        for pair, merge in zip(pairs, self._merges, strict=True):
            if len(pair) != 2:
                raise CheckpointError(
                    f"{self._fields.source}: tokenizer.ggml.merges: expected two tokens, found {brief(merge)}"
                )
        return pairs
