"""Small byte-level BPE tokenizers with the released models' control tokens, made in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
NOT_SPECIAL = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
CONTROL_TOKENS = (*SPECIAL, *NOT_SPECIAL)
CONFIG: dict[str, Any] = {
    "bos_token": None,
    "eos_token": "<|im_end|>",
    "pad_token": {"content": "<|endoftext|>", "special": True},
    "unk_token": None,
}
# Words as in Qwen's pre-tokenizer: contractions, letters, single digits, punctuation, white space.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = (
    "the weather in the town is what the user asks for, and the assistant answers the user at once\n\n",
    'system user assistant tool think tool_call tool_response im_start im_end {"name": "get", "arguments": {}}\n',
    "Grüße aus Zürich, 世界 世界, 👋👋🏽 👋👋🏽, é è ê, naïve café café\n",
)


def finish(tokenizer: Tokenizer, added: Iterable[AddedToken] | None = None) -> bytes:
    """The content of tokenizer.json: a bare BPE model with the other parts of a Qwen tokenizer."""
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, use_regex=False)
    if added is None:
        added = [AddedToken(token, special=token in SPECIAL, normalized=False) for token in CONTROL_TOKENS]
    for token in added:
        if token.special:
            tokenizer.add_special_tokens([token])
        else:
            tokenizer.add_tokens([token])
    return tokenizer.to_str().encode()


def trained(added: Iterable[AddedToken] | None = None, size: int = 400) -> bytes:
    """A tokenizer.json with all bytes and some merges."""
    tokenizer = Tokenizer(models.BPE())
    finish(tokenizer, [])
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    return finish(tokenizer, added)


@lru_cache
def small() -> bytes:
    """The tokenizer.json that most tests use."""
    return trained()


def with_vocabulary(entries: Sequence[bytes]) -> bytes:
    """A tokenizer.json whose tokens, by id, are these bytes and no merges, for tests that only decode."""
    letters = byte_letters()
    vocab = {"".join(letters[byte] for byte in entry): id_ for id_, entry in enumerate(entries)}
    return finish(Tokenizer(models.BPE(vocab=vocab, merges=[])))


@lru_cache
def byte_letters() -> dict[int, str]:
    """The character that the tokenizers library uses for each byte of UTF-8, found by asking it."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    every_byte = [*range(0x800), 0x800, *range(0x1000, 0x10000, 0x1000), *range(0x10000, 0x110000, 0x40000), 0x100000]
    letters: dict[int, str] = {}
    for character in map(chr, every_byte):
        [(written, _)] = level.pre_tokenize_str(character)
        letters.update(zip(character.encode(), written, strict=True))
    return letters


def edited(tokenizer_json: bytes, **changes: Any) -> bytes:
    """tokenizer.json with some top-level entries changed."""
    return json.dumps(json.loads(tokenizer_json) | changes).encode()
