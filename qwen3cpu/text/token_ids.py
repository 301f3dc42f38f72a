"""Checks token ids that a caller passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3cpu.arguments import as_whole, is_iterable, shown
from qwen3cpu.errors import ArgumentError


def check_ids(ids: Any, vocab_size: int, name: str) -> list[int]:
    """Return token ids as a list of int. ArgumentError for anything but a sequence of integers in [0, vocab_size)."""
    if isinstance(ids, (str, bytes, Mapping)) or not is_iterable(ids):
        raise ArgumentError(f"{name}: expected a sequence of token ids, found {type(ids).__name__}")
    checked: list[int] = []
    for position, value in enumerate(ids):
        token = as_whole(value)
        if token is None:
            raise ArgumentError(f"{name}[{position}]: expected a token id, found {shown(value)}")
        if not 0 <= token < vocab_size:
            raise ArgumentError(f"{name}[{position}]: expected an id from 0 to {vocab_size - 1}, found {token}")
        checked.append(token)
    return checked
