"""The model inside a tokenizer: text without control tokens to ids, and ids to bytes.

Two implementations give the same ids. For the usual files, those of the released models included, a compact table
(csrc/tokenizer/bpe.cc) holds vocabulary and merges, and the `tokenizers` library normalizes and pre-tokenizes. The
library alone handles all other files. The table loads faster: for the 11 MB of a released tokenizer.json the library
takes 0.3 s of CPU time and 125 MB at its peak, the table 0.06 s and 17 MB. The rules for control tokens and decoding
are in tokenizer.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models

from qwen3cpu import _native
from qwen3cpu.errors import ArgumentError, CheckpointError, is_panic
from qwen3cpu.text.pieces import can_be_cut


class Bpe(Protocol):
    """Byte-level BPE without added tokens: it treats their spellings as plain text."""

    missing_bytes: frozenset[int]
    """Bytes of UTF-8 that have no token of their own."""
    can_be_cut: bool
    """Whether a text may be encoded in the pieces of pieces.py, and no normalization makes it shorter than NFC does."""

    def normalize(self, text: str) -> str:
        """Apply the checkpoint's normalizer to a text."""

    def encode(self, text: str) -> NDArray[np.uint32]:
        """Ids of a text. Bytes without a token are left out."""

    def token_bytes(self, id_: int) -> bytes | None:
        """The bytes of a token, None for an id that the vocabulary does not have."""

    def id_of(self, token: str) -> int | None:
        """Id of a token by its spelling in the vocabulary (`Ġthe`)."""


@dataclass(frozen=True)
class TokenizerFile:
    """The content of a tokenizer.json.

    added: id -> added token, control tokens among them. size: all ids are below it.
    """

    bpe: Bpe
    added: dict[int, tokenizers.AddedToken]
    size: int


def open_tokenizer_json(content: bytes, source: str) -> TokenizerFile:
    """Read a tokenizer.json. Raises CheckpointError, naming `source`, when it is damaged or not a byte-level BPE."""
    return _open_table(content) or _open_library(content, source)


def _byte_alphabet() -> dict[str, int]:
    """The characters with which byte-level BPE writes bytes: printable Latin-1 as itself, the others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF_CHARACTER: Final = _byte_alphabet()
_BYTES_OF_UTF8: Final = frozenset(range(256)) - {0xC0, 0xC1, *range(0xF5, 0x100)}


class _LibraryErrors:
    """A context manager that turns errors and panics of the library into an ArgumentError.

    For example, a pre-tokenizer's expression may need more steps or memory than its limits allow.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and (is_panic(error) or type(error) in (Exception, ValueError, TypeError)):
            raise ArgumentError(
                f"text: expected what the model's tokenizer can encode; the tokenizers library says: {str(error)[:200]}"
            ) from error


_LIBRARY: Final = _LibraryErrors()


class _TableBpe:
    """The library's normalizer and pre-tokenizer with the compact table."""

    def __init__(self, table: _native.Bpe, library: tokenizers.Tokenizer, *, can_be_cut: bool) -> None:
        self._table = table
        self.can_be_cut = can_be_cut
        self._normalizer = library.normalizer
        self._pre_tokenizer = library.pre_tokenizer
        self.missing_bytes = frozenset(byte for byte in _BYTES_OF_UTF8 if table.find(bytes([byte])) is None)

    def normalize(self, text: str) -> str:
        with _LIBRARY:
            return text if self._normalizer is None else str(self._normalizer.normalize_str(text))

    def encode(self, text: str) -> NDArray[np.uint32]:
        if self.can_be_cut and text.isascii() and text.isalpha():
            return self._table.encode([text])  # one word; the library would hold the interpreter lock for a long one
        normal = self.normalize(text)
        with _LIBRARY:
            words = self._pre_tokenizer.pre_tokenize_str(normal)
        return self._table.encode([word for word, _ in words])

    def token_bytes(self, id_: int) -> bytes | None:
        return self._table.token(id_) if 0 <= id_ < self._table.size else None

    def id_of(self, token: str) -> int | None:
        try:
            return self._table.find(bytes(_BYTE_OF_CHARACTER[character] for character in token))
        except KeyError:
            return None  # not written in the byte alphabet, as every token of a table is


class _LibraryBpe:
    """The library's model."""

    def __init__(self, complete: tokenizers.Tokenizer, *, can_be_cut: bool) -> None:
        self.can_be_cut = can_be_cut
        # The same model without its added tokens. Nothing is copied.
        self._plain = tokenizers.Tokenizer(complete.model)
        self._plain.pre_tokenizer = complete.pre_tokenizer
        self._normalizer = complete.normalizer
        if self._normalizer is not None:
            self._plain.normalizer = self._normalizer
        self.missing_bytes = frozenset(
            byte
            for character, byte in _BYTE_OF_CHARACTER.items()
            if byte in _BYTES_OF_UTF8 and complete.token_to_id(character) is None
        )

    def normalize(self, text: str) -> str:
        with _LIBRARY:
            return text if self._normalizer is None else str(self._normalizer.normalize_str(text))

    def encode(self, text: str) -> NDArray[np.uint32]:
        with _LIBRARY:
            return np.array(self._plain.encode(text, add_special_tokens=False).ids, np.uint32)

    def token_bytes(self, id_: int) -> bytes | None:
        token: str | None = self._plain.id_to_token(id_)
        if token is None:
            return None
        try:
            return bytes(_BYTE_OF_CHARACTER[character] for character in token)
        except KeyError:
            # An entry that is not written in the byte alphabet stands for itself.
            return token.encode()

    def id_of(self, token: str) -> int | None:
        found: int | None = self._plain.token_to_id(token)
        return found


def _open_table(content: bytes) -> TokenizerFile | None:
    """Open the file with the compact table; None when anything about it is unusual, so that the library reports it."""
    found = _native.Bpe.read(content)
    if found is None:
        return None
    table, rest = found
    try:
        library = tokenizers.Tokenizer.from_buffer(rest)
        described: dict[str, Any] = json.loads(rest)
    except BaseException as bad:  # the library raises bare Exception and ValueError, and panics
        if not isinstance(bad, Exception) and not is_panic(bad):
            raise
        return None
    if not isinstance(library.decoder, decoders.ByteLevel) or library.pre_tokenizer is None:
        return None
    if not _is_plain(described["model"]):
        return None
    bpe = _TableBpe(table, library, can_be_cut=can_be_cut(described))
    added = _added_tokens(described, library, bpe, table.size)
    if added is None:
        return None
    return TokenizerFile(bpe, added, max([table.size, *(id_ + 1 for id_ in added)]))


def _is_plain(model: dict[str, Any]) -> bool:
    """Whether a model consists of merges only."""
    options = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    return model.get("type") == "BPE" and not any(model.get(name) for name in (*options, "ignore_merges"))


def _added_tokens(
    described: dict[str, Any], library: tokenizers.Tokenizer, bpe: Bpe, following: int
) -> dict[int, tokenizers.AddedToken] | None:
    """Id -> added token, by the ids of the file; None when the library, which counts from `following`, would give
    other ids.
    """
    options = {token.content: token for token in library.get_added_tokens_decoder().values()}
    entries = described.get("added_tokens") or []
    if len(entries) != len(options):
        return None  # an empty or a repeated spelling
    added: dict[int, tokenizers.AddedToken] = {}
    for entry in entries:
        own = bpe.id_of(entry["content"])
        if entry["id"] != (following if own is None else own):
            return None
        if own is None:
            following += 1
        added[entry["id"]] = options[entry["content"]]
    return added


def _open_library(content: bytes, source: str) -> TokenizerFile:
    try:
        complete = tokenizers.Tokenizer.from_buffer(content)
    except BaseException as bad:  # the library raises bare Exception and ValueError, and panics
        if not isinstance(bad, Exception) and not is_panic(bad):
            raise
        raise CheckpointError(f"{source}: tokenizer.json: expected a `tokenizers` file, found: {bad}") from bad
    model, decoder = complete.model, complete.decoder
    if not isinstance(model, models.BPE) or not isinstance(decoder, decoders.ByteLevel):
        raise CheckpointError(
            f"{source}: tokenizer.json: expected byte-level BPE, found model {type(model).__name__} with decoder "
            f"{type(decoder).__name__}"
        )
    if model.dropout:
        raise CheckpointError(f"{source}: tokenizer.json: expected no BPE dropout, found {model.dropout}")
    added = dict(complete.get_added_tokens_decoder())
    size = max(complete.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return TokenizerFile(_LibraryBpe(complete, can_be_cut=can_be_cut(json.loads(content))), added, size)
