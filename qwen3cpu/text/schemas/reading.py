"""Reads the JSON schema of a caller, a dict or a pydantic model, within limits, as values of JSON's own types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwen3cpu.errors import ArgumentError

MAX_DEPTH = 64
"""Most levels of nesting in a schema."""
SHOWN = 60
"""Most characters of a wrong value that a message shows."""


class SchemaError(ArgumentError):
    """A schema that no answer can be made to follow.

    Args:
        pointer: JSON pointer of the place in the schema; "" for the whole of it.
        problem: what was expected there and what was found.
    """

    def __init__(self, pointer: str, problem: str) -> None:
        super().__init__(f"schema: {pointer}: {problem}" if pointer else f"schema: {problem}")
        self.pointer = pointer
        self.problem = problem

    def at(self, place: str) -> ArgumentError:
        """The same error for a schema at a place in the caller's arguments."""
        return ArgumentError(f"{place}{str(self).removeprefix('schema')}")


def read_schema(schema: Any) -> dict[str, Any]:
    """Read the JSON schema of a caller: a mapping, or a pydantic model (the class).

    Raises:
        ArgumentError: it is neither, cannot be written as JSON, or is nested too deeply.
    """
    if isinstance(schema, type) and callable(getattr(schema, "model_json_schema", None)):
        schema = schema.model_json_schema()  # type: ignore[attr-defined]
    if not isinstance(schema, Mapping):
        found = schema.__name__ if isinstance(schema, type) else type(schema).__name__
        raise ArgumentError(f"schema: expected a JSON schema (a dict) or a pydantic model, found {found}")
    check_depth(schema)
    try:
        plain: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"schema: expected what JSON can express: {error}") from None
    return plain


def check_depth(schema: Any) -> None:
    """Refuse a schema that is nested too deeply, or that contains itself as a Python object.

    Raises:
        SchemaError: more than MAX_DEPTH levels.
    """
    level = [schema]
    for _ in range(MAX_DEPTH + 1):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise SchemaError("", f"expected at most {MAX_DEPTH} levels of nesting, found more")


def pointer_to(*steps: object) -> str:
    """A JSON pointer with escaped parts."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def shown(value: Any) -> str:
    """A value as JSON, shortened for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [child for child in value.values() if isinstance(child, (Mapping, list, tuple))]
    if isinstance(value, (list, tuple)):
        return [child for child in value if isinstance(child, (Mapping, list, tuple))]
    return []
