"""Keys of rows. A row's seed, its place among finished rows and its ids are made from its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError

MARK_BYTES: Final = 16
"""Bytes of the hash of a key."""


def content_key(prompt: Any) -> str:
    """The key of a row whose dataset names no column of keys: the SHA-256 of its prompt, in hexadecimal digits.

    Rows with the same prompt have the same key and so the same answer. It does not depend on blocks or nodes.

    Args:
        prompt: the value of the row's column: a text, messages or token ids.
    """
    text = json.dumps(plain(prompt), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def plain(value: Any) -> Any:
    """A value of a row without null fields, because Arrow gives all objects of a column the same fields."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items() if each is not None}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def row_keys(table: pa.Table, key: str | None, prompts: Sequence[Any]) -> list[str | int | ArgumentError]:
    """The key of each row, or the error about it.

    Args:
        table: the rows.
        key: the column of the keys; None: they are made from the prompts.
        prompts: the prompt of each row.
    """
    if key is None:
        return [content_key(prompt) for prompt in prompts]
    return [_checked(value, key) for value in column_values(table, key)]


def column_values(table: pa.Table, name: str) -> list[Any]:
    """The values of a column. ArgumentError when there is none of this name."""
    if name not in table.column_names:
        raise ArgumentError(f"column: expected one of {', '.join(table.column_names)}; found {name!r}")
    return [plain(value) for value in table[name].to_pylist()]


def _checked(value: Any, key: str) -> str | int | ArgumentError:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return value
    return ArgumentError(f"{key}: expected a key, a text or a whole number; found {str(value)[:80]!r}")


def key_mark(key: str | int) -> bytes:
    """A short hash of a key."""
    return hashlib.blake2b(json.dumps(key).encode("ascii"), digest_size=MARK_BYTES).digest()


def marks_array(marks: bytes) -> NDArray[np.void]:
    """The joined hashes of keys as an array."""
    return np.frombuffer(marks, f"V{MARK_BYTES}")
