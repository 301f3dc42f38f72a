"""Reads JSON objects from outside (config.json and others) with checks of types and ranges."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from qwen3cpu.arguments import as_whole, shown
from qwen3cpu.checkpoint.file_kinds import START, describe_kind
from qwen3cpu.errors import CheckpointError

REQUIRED: Final = object()
"""Default of a field that must be present."""


def parse_object(data: bytes, source: str, error: type[CheckpointError] = CheckpointError) -> dict[str, Any]:
    """Parse the JSON object in `data`. Raises `error` as `parse_value` does, and for a value that is not an object."""
    value = parse_value(data, source, error)
    if not isinstance(value, dict):
        raise error(f"{source}: expected a JSON object, found {brief(value)}")
    return value


def parse_value(data: bytes, source: str, error: type[CheckpointError] = CheckpointError) -> Any:
    """Parse the JSON value in `data` (UTF-8, with or without a byte order mark).

    Raises `error` naming `source` when `data` is not JSON or repeats a key.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=no_repeated_keys)
    except UnicodeDecodeError as reason:
        raise error(
            f"{source}: expected JSON in UTF-8, found byte {reason.object[reason.start]:#04x} at {reason.start}"
            f"{describe_kind(data[:START])}"
        ) from None
    except RecursionError:
        raise error(f"{source}: expected JSON, found brackets nested too deeply") from None
    except ValueError as reason:
        raise error(f"{source}: expected JSON: {reason}{describe_kind(data[:START])}") from None


def no_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the object of these keys and values, for `json.loads`. Raises ValueError when a key is repeated."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"key {brief(name)} appears more than once")
            seen.add(name)
    return found


def brief(value: object) -> str:
    """Spell `value` for an error message, much like JSON; long values are cut."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return shown(value)


class Fields:
    """One JSON object. Its methods raise `error` with the source, the key, and what was expected and found."""

    def __init__(self, values: Mapping[str, Any], source: str, error: type[CheckpointError]) -> None:
        self.values = values
        self.source = source
        self.error = error

    def fail(self, key: str, expected: str) -> CheckpointError:
        """Return the error for `key`, which the caller raises."""
        found = brief(self.values[key]) if key in self.values else "no such key"
        return self.error(f"{self.source}: {key}: expected {expected}, found {found}")

    def _default(self, key: str, expected: str, default: object) -> object:
        if default is REQUIRED:
            raise self.fail(key, expected)
        return default

    def integer(self, key: str, low: int, high: int) -> int:
        """Return a required integer in [low, high]."""
        value = self.optional_integer(key, low, high, REQUIRED)
        assert value is not None
        return value

    def optional_integer(self, key: str, low: int, high: int, default: object = None) -> int | None:
        """Return an integer in [low, high]; `default` if the key is absent or null."""
        expected = f"an integer from {low} to {high}"
        value = self.values.get(key)
        if value is None:
            value = self._default(key, expected, default)
            return value if isinstance(value, int) else None
        number = as_whole(value)
        if number is None or not low <= number <= high:
            raise self.fail(key, expected)
        return number

    def lenient_integer(self, key: str, low: int, high: int) -> int | None:
        """Return an integer in [low, high], also from a float without a fraction; None if absent, null or negative.

        For settings that other programs spell in several ways: -1 for none, 20.0 for 20.
        """
        value = self.values.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        number = as_whole(value) if value is not None else None
        if value is None or (number is not None and number < 0):
            return None
        if number is None or not low <= number <= high:
            raise self.fail(key, f"an integer from {low} to {high}")
        return number

    def number(self, key: str, low: float, high: float, *, above_low: bool = False) -> float:
        """Return a required finite number in [low, high], or in (low, high] with `above_low`."""
        value = self.optional_number(key, low, high, REQUIRED, above_low=above_low)
        assert value is not None
        return value

    def optional_number(
        self, key: str, low: float, high: float, default: object = None, *, above_low: bool = False
    ) -> float | None:
        """Return a finite number in [low, high], or in (low, high] with `above_low`; `default` if absent or null."""
        expected = f"a number {'above' if above_low else 'from'} {low:g} {'and up to' if above_low else 'to'} {high:g}"
        value = self.values.get(key)
        if value is None:
            value = self._default(key, expected, default)
            return value if isinstance(value, float) else None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.fail(key, expected)
        if not low <= value <= high or (above_low and value == low) or not math.isfinite(value):
            raise self.fail(key, expected)
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """Return a boolean; `default` if absent or null."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(key, "true or false")
        return value

    def text(self, key: str, default: object = REQUIRED) -> str | None:
        """Return a string; `default` if absent or null."""
        value = self.values.get(key)
        if value is None:
            value = self._default(key, "a string", default)
            return value if isinstance(value, str) else None
        if not isinstance(value, str):
            raise self.fail(key, "a string")
        return value

    def token_ids(self, key: str) -> tuple[int, ...] | None:
        """Return token ids from one id or a list of them, as in eos_token_id; None: no id is given.

        Null and -1, alone or in a list, are not ids.
        """
        value = self.values.get(key)
        given = value if isinstance(value, list) else [value]
        whole = [int(each) if isinstance(each, float) and each.is_integer() else each for each in given]
        ids = [as_whole(each) for each in whole if each is not None]
        if any(each is None or each >= 2**31 for each in ids):
            raise self.fail(key, "a token id or a list of token ids")
        return tuple(each for each in ids if each is not None and each >= 0) or None
