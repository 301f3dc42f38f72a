"""Converts text to token ids and back with the checkpoint's tokenizer.json: byte-level BPE, control tokens, streaming.

Normalizer, pre-tokenizer and merges are in bpe.py. This file decides which spellings become control tokens. It also
makes sure that nothing is dropped, and that streamed text never contains half a character. chat_template.py renders
messages; output_splitter.py separates reasoning and tool calls.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from qwen3cpu.arguments import is_iterable, shown
from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.bpe import open_tokenizer_json
from qwen3cpu.text.pieces import pieces
from qwen3cpu.text.token_beginnings import TokenBeginnings

NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The keys of tokenizer_config.json whose tokens a chat template may use by name."""


_logger = logging.getLogger("qwen3cpu")

LONG_PIECE = 1 << 16
"""Ids of a piece above which it may fill a context by itself."""
_WHITE_SPACE = re.compile(r"\s*")


class Tokenizer:
    """The tokenizer of one checkpoint.

    Args:
        tokenizer_json: the content of tokenizer.json.
        tokenizer_config: the content of tokenizer_config.json; an empty mapping when the checkpoint has none.
        source: names the checkpoint in errors.

    Attributes:
        size: all ids are below it (151,669 for the released models, whose head has 151,936 rows).
        special_ids: ids that decoding leaves out by default. `<think>` and `<tool_call>` are not among them.
        control_tokens: spelling -> id of every added token, special or not.
        control_pattern: finds those spellings.
        named_tokens: `eos_token` and the like -> spelling, for chat templates.
        im_end, endoftext, think, end_think, tool_call, end_tool_call: ids of the added tokens `<|im_end|>`,
            `<|endoftext|>`, `<think>`, `</think>`, `<tool_call>`, `</tool_call>`; None if the model lacks the token.

    Raises:
        CheckpointError: the files are damaged, or not a byte-level BPE.
    """

    def __init__(self, tokenizer_json: bytes, tokenizer_config: Mapping[str, Any], *, source: str) -> None:
        file = open_tokenizer_json(tokenizer_json, source)
        added = file.added
        self._bpe = file.bpe
        self._bytes: dict[int, bytes] = {id_: token.content.encode() for id_, token in added.items()}
        self._added = {token.content: token for token in added.values()}
        self._strips = any(token.lstrip or token.rstrip for token in added.values())
        self.control_pattern = _control_pattern(added.values())

        self.source = source
        self.size = file.size
        self.control_tokens: dict[str, int] = {token.content: id_ for id_, token in added.items()}
        self.named_tokens = _named_tokens(tokenizer_config, source)
        self.special_ids = frozenset(id_ for id_, token in added.items() if token.special) | frozenset(
            self.control_tokens[spelling] for spelling in self.named_tokens.values() if spelling in self.control_tokens
        )
        self.im_end = self.control_tokens.get("<|im_end|>")
        self.endoftext = self.control_tokens.get("<|endoftext|>")
        self.think = self.control_tokens.get("<think>")
        self.end_think = self.control_tokens.get("</think>")
        self.tool_call = self.control_tokens.get("<tool_call>")
        self.end_tool_call = self.control_tokens.get("</tool_call>")
        # Control tokens that are also entries of the BPE model could come out of its merges.
        control = {*self.special_ids, self.think, self.end_think, self.tool_call, self.end_tool_call}
        self._never_from_text = np.array(
            [id_ for id_ in control if id_ is not None and self._bpe.token_bytes(id_) is not None], np.uint32
        )

    @property
    def end_tokens(self) -> frozenset[int]:
        """The ids of `<|im_end|>` and `<|endoftext|>`, if the tokenizer has them."""
        return frozenset(token for token in (self.im_end, self.endoftext) if token is not None)

    def encode(
        self, text: str, *, control_tokens: bool = False, watch: Callable[[int], None] | None = None
    ) -> list[int]:
        """Encode a text as ids. Decoding them gives the text as the checkpoint normalises it (NFC).

        Args:
            text: any Unicode text.
            control_tokens: whether the spelling of an added token, such as `<|im_end|>`, becomes that token. By default
                it is plain text, as text from a user or a document must be.
            watch: called between the pieces of a long text, and after a very long one, with the number of ids so far.
                An exception of it ends the work.

        Raises:
            ArgumentError: not a str, a lone surrogate, or a byte that the vocabulary cannot express.
        """
        check_text(text, "text")
        return self.encode_split(self.split_control_tokens(text) if control_tokens else [(text, None)], watch)

    def encode_split(
        self, parts: Iterable[tuple[str, int | None]], watch: Callable[[int], None] | None = None
    ) -> list[int]:
        """Ids of texts, each with the control token that follows it. Arguments and errors as of `encode`."""
        ids: list[int] = []
        done = 0
        for text, control in parts:
            for piece in pieces(text) if self._bpe.can_be_cut else (text,):
                if watch is not None and done:
                    watch(len(ids))
                found = self._encode_plain(piece)
                if watch is not None and len(found) > LONG_PIECE:
                    watch(len(ids) + len(found))  # before they become a list: 16 MB for 2 MB of text
                ids += found.tolist()
                done += 1
            if control is not None:
                ids.append(control)
        return ids

    def least_tokens(self, text: str) -> int:
        """A lower bound of the number of ids of a text, with or without control tokens, without encoding it."""
        if not self._bpe.can_be_cut or self._strips:
            return 0
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        # NFC makes a text at most three times shorter (three conjoining jamo become one syllable).
        shrinks = not text.isascii() and not unicodedata.is_normalized("NFC", text)
        return -(-size // (3 * self.longest_token if shrinks else self.longest_token))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the bytes of all tokens. Two tokenizers with the same fingerprint have the same ids."""
        digest = hashlib.sha256()
        for id_ in range(self.size):
            token = self._bytes.get(id_)
            token = token if token is not None else self._bpe.token_bytes(id_) or b""
            digest.update(len(token).to_bytes(4, "little") + token)
        return digest.hexdigest()

    @cached_property
    def longest_token(self) -> int:
        """Bytes of the longest token."""
        plain = (self._bpe.token_bytes(id_) for id_ in range(self.size))
        return max(*(len(token or b"") for token in plain), *(len(token) for token in self._bytes.values()), 1, 1)

    @cached_property
    def beginnings(self) -> TokenBeginnings:
        """All tokens except the control tokens, by their bytes. The first use takes some tenths of a second."""
        control = set(self.control_tokens.values())
        return TokenBeginnings((id_, self.token_bytes(id_)) for id_ in range(self.size) if id_ not in control)

    def split_control_tokens(self, text: str, *, mark: str = "") -> list[tuple[str, int | None]]:
        """Split a text at the spellings of added tokens: (text before, id), the last pair with None for the id.

        Args:
            text: to split.
            mark: only spellings with this before them count; it is removed too.
        """
        pattern = re.compile(f"{re.escape(mark)}(?:{self.control_pattern.pattern})") if mark else self.control_pattern
        pairs: list[tuple[str, int | None]] = []
        start = 0
        while match := pattern.search(text, start):
            token = self._added[match[0][len(mark) :]]
            before = text[start : match.start()]
            pairs.append((before.rstrip() if token.lstrip else before, self.control_tokens[token.content]))
            start = match.end()
            if token.rstrip:
                start = _WHITE_SPACE.match(text, start).end()  # type: ignore[union-attr]  # matches everywhere
        pairs.append((text[start:], None))
        return pairs

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Decode token ids to text. Bytes that are not UTF-8 become U+FFFD.

        Raises:
            ArgumentError: not ids, or an id that is not an integer below `size`.
        """
        if isinstance(ids, str) or not is_iterable(ids):
            raise ArgumentError(f"ids: expected token ids, found {type(ids).__name__}")
        skip = self.special_ids if skip_special_tokens else frozenset()
        indices = (_as_index(id_) for id_ in ids)
        return b"".join(self.token_bytes(id_) for id_ in indices if id_ not in skip).decode("utf-8", errors="replace")

    def token_bytes(self, id_: int) -> bytes:
        """The bytes of a token, which may be part of a character; empty for an id that the vocabulary skips.

        Raises:
            ArgumentError: an id that is not an integer below `size`.
        """
        index = _as_index(id_)
        known = self._bytes.get(index)
        if known is not None:
            return known
        if not 0 <= index < self.size:
            raise ArgumentError(f"token id: expected 0 to {self.size - 1}, found {index}")
        decoded = self._bpe.token_bytes(index) or b""
        self._bytes[index] = decoded
        return decoded

    def id_of(self, token: str) -> int | None:
        """Id of a token by its spelling in the vocabulary (byte-level: `Ġthe`); None for an unknown one.

        Raises:
            ArgumentError: not a str.
        """
        if not isinstance(token, str):
            raise ArgumentError(f"token: expected a str, found {type(token).__name__}")
        added = self.control_tokens.get(token)
        if added is not None:
            return added
        return self._bpe.id_of(token)

    def _encode_plain(self, text: str) -> NDArray[np.uint32]:
        if self._bpe.missing_bytes:
            self._check_expressible(text)
        ids = self._bpe.encode(text)
        if self._never_from_text.size and (never := np.isin(ids, self._never_from_text)).any():
            found = int(ids[never.argmax()])
            raise ArgumentError(
                f"text: expected what the vocabulary of {self.source} can write as plain text, found "
                f"{self.token_bytes(found).decode()!r}"
            )
        return ids

    def _check_expressible(self, text: str) -> None:
        """Refuse bytes without a token: encoding would drop them."""
        for position, character in enumerate(self._bpe.normalize(text)):
            if not self._bpe.missing_bytes.isdisjoint(character.encode()):
                raise ArgumentError(
                    f"text: expected characters that the vocabulary of {self.source} can express, found "
                    f"U+{ord(character):04X} at position {position}"
                )


def _as_index(id_: int) -> int:
    try:
        return operator.index(id_)
    except TypeError:
        raise ArgumentError(f"token id: expected an integer, found {shown(id_)}") from None


class StreamDecoder:
    """Decodes ids one at a time. The returned texts, joined, equal `Tokenizer.decode` of all ids.

    Args:
        tokenizer: of the ids.
        skip_special_tokens: as in `Tokenizer.decode`.
        left_out: bytes at the beginning that are not decoded.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool = True, left_out: int = 0) -> None:
        self._tokenizer = tokenizer
        self._left_out = left_out
        self._skip = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id_: int) -> str:
        """The characters that this token completes, perhaps none."""
        if _as_index(id_) in self._skip:
            return ""
        data = self._tokenizer.token_bytes(id_)
        shown, self._left_out = data[self._left_out :], max(0, self._left_out - len(data))
        return self._utf8.decode(shown)

    def finish(self) -> str:
        """Return U+FFFD if the ids ended inside a character, else "". The decoder is then ready for the next text."""
        return self._utf8.decode(b"", final=True)


def check_text(text: object, name: str, error: type[ArgumentError] = ArgumentError) -> None:
    """Raise `error` unless `text` is a str without a lone surrogate, which has no UTF-8 form."""
    if not isinstance(text, str):
        raise error(f"{name}: expected a str, found {type(text).__name__}")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as bad:
        raise error(
            f"{name}: expected Unicode text, found the lone surrogate U+{ord(text[bad.start]):04X} "
            f"at position {bad.start}"
        ) from None


def _named_tokens(config: Mapping[str, Any], source: str) -> dict[str, str]:
    """The tokens that tokenizer_config.json names. A value is a string, or an object with the string in `content`."""
    named = {}
    for key in NAMED_TOKENS:
        value = config.get(key)
        if isinstance(value, Mapping):
            value = value.get("content")
        if value is None:
            continue
        if not isinstance(value, str):
            # transformers reads it only when a template asks for it by name.
            kind = type(value).__name__
            _logger.warning("%s: tokenizer_config.json: %s: expected a string, ignoring %s", source, key, kind)
            continue
        named[key] = value
    return named


def _control_pattern(added: Iterable[tokenizers.AddedToken]) -> re.Pattern[str]:
    """The pattern that finds spellings of added tokens as the library does: the leftmost, and the longest one there."""
    alternatives = []
    for token in sorted(added, key=lambda token: len(token.content), reverse=True):
        spelling = re.escape(token.content)
        alternatives.append(rf"(?<!\w){spelling}(?!\w)" if token.single_word else spelling)
    return re.compile("|".join(alternatives) or r"(?!)")
