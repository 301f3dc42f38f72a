"""Converts the tokenizer in a GGUF file to tokenizer.json."""

from __future__ import annotations

from collections import Counter
from typing import Any

from qwen3cpu.arguments import as_whole
from qwen3cpu.checkpoint.gguf_parts import GgufModel
from qwen3cpu.checkpoint.json_fields import Fields, brief
from qwen3cpu.checkpoint.readers.pre_tokenizers import PRE_TOKENIZERS, byte_level
from qwen3cpu.errors import CheckpointError

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5


class Tokens:
    """The vocabulary of a GGUF file. texts: all tokens, by id. added: id -> text of the added tokens."""

    def __init__(self, file: GgufModel) -> None:
        self._fields = fields = Fields(file.metadata, str(file.path), CheckpointError)
        if fields.text("tokenizer.ggml.model") != "gpt2":
            raise fields.fail("tokenizer.ggml.model", "'gpt2' (byte-level BPE)")
        pre = fields.text("tokenizer.ggml.pre")
        if pre not in PRE_TOKENIZERS:
            raise fields.fail("tokenizer.ggml.pre", f"one of {', '.join(PRE_TOKENIZERS)}")
        self._cut = PRE_TOKENIZERS[pre]
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
        """Return the id of "eos", "bos" or "padding". The set is empty if the id is missing, -1 or 2**32 - 1."""
        id_ = as_whole(self._fields.values.get(f"tokenizer.ggml.{role}_token_id"))
        return {id_} if id_ is not None and 0 <= id_ < len(self.texts) else set()

    def tokenizer_config(self) -> dict[str, Any]:
        """Make tokenizer_config.json."""
        roles = {"eos_token": "eos", "bos_token": "bos", "pad_token": "padding"}
        return {token: self.texts[id_] for token, role in roles.items() for id_ in self.named_ids(role)}

    def tokenizer_json(self) -> dict[str, Any]:
        """Make tokenizer.json from the vocabulary and its pre-tokenizer."""
        level = byte_level(use_regex=False)
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": id_, "content": text, **flags, "special": self._types[id_] == _CONTROL}
                for id_, text in self.added.items()
            ],
            "normalizer": self._cut.normalizer(),
            "pre_tokenizer": self._cut.pre_tokenizer(),
            "post_processor": level,
            "decoder": level,
            "model": {
                "type": "BPE",
                "ignore_merges": self._cut.ignore_merges,
                "vocab": self._vocabulary(),
                "merges": self._pairs(),
            },
        }

    def _vocabulary(self) -> dict[str, int]:
        """Return text -> id of the normal tokens, and also of added tokens if their ids do not follow directly.

        A reader of tokenizer.json numbers added tokens after the vocabulary, unless the vocabulary has their text.
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
