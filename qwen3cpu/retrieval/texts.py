"""Encodes texts for a retrieval model, within its context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from qwen3cpu.arguments import as_whole, shown
from qwen3cpu.errors import ArgumentError, ContextLengthError
from qwen3cpu.text.tokenizer import Tokenizer, check_text

Text: TypeAlias = "str | Sequence[int]"
"""A text, or its token ids."""
INSTRUCTION: Final = "Given a web search query, retrieve relevant passages that answer the query"
"""The default instruction of the authors' models."""


def encode_within(
    tokenizer: Tokenizer, text: Text, room: int, *, name: str, truncate: bool, before: str = ""
) -> list[int]:
    """Return the ids of a text, at most `room`.

    Args:
        tokenizer: encodes the text. Spellings of control tokens are plain text.
        text: a str, or token ids, which are used unchanged.
        room: number of tokens that fit.
        name: of the text in messages.
        truncate: cut a text that is too long at the end instead of refusing it.
        before: prefix of a text that is a str; never cut.

    Raises:
        ArgumentError: no text, or an id outside the vocabulary.
        ContextLengthError: too many tokens, and `truncate` is false.
    """
    if not isinstance(text, str):
        return _fitting(_checked_ids(text, tokenizer.size, name), room, name, truncate)
    check_text(text, name)
    whole = before + text
    least = tokenizer.least_tokens(whole)
    if least > room:
        if not truncate:
            raise _too_long(name, f"at least {least}", room)
        # A token has at most `longest_token` characters, and NFC makes a text at most three times shorter.
        whole = whole[: 3 * (room + 1) * tokenizer.longest_token]
    return _fitting(tokenizer.encode(whole), room, name, truncate)


def count_beginning(tokenizer: Tokenizer, before: str, room: int, *, name: str) -> int:
    """Count the tokens of the prefix of texts. ContextLengthError: it does not fit. It is never cut."""
    least = tokenizer.least_tokens(before)
    count = least if least > room else len(tokenizer.encode(before))
    if count > room:
        found = f"at least {count}" if count == least else str(count)
        raise ContextLengthError(f"{name}: expected at most {room} tokens including its template, found {found}")
    return count


def _fitting(ids: list[int], room: int, name: str, truncate: bool) -> list[int]:
    if len(ids) > room:
        if not truncate:
            raise _too_long(name, str(len(ids)), room)
        del ids[room:]
    return ids


def _too_long(name: str, tokens: str, room: int) -> ContextLengthError:
    return ContextLengthError(f"{name}: expected at most {room} tokens, found {tokens}; truncate=True cuts the rest")


def _checked_ids(ids: object, size: int, name: str) -> list[int]:
    if not isinstance(ids, Sequence) or isinstance(ids, (bytes, bytearray)):
        raise ArgumentError(f"{name}: expected a str or token ids, found {type(ids).__name__}")
    checked = []
    for place, value in enumerate(ids):
        id_ = as_whole(value)
        if id_ is None or not 0 <= id_ < size:
            raise ArgumentError(f"{name}[{place}]: expected a token id from 0 to {size - 1}, found {shown(value)}")
        checked.append(id_)
    return checked
