"""Random JSON schemas, valid and invalid, as callers may give them with `schema=` or as parameters of a tool."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import checkpoints
from mutations import odd_value

import qwen3cpu

TYPES = ("string", "integer", "number", "boolean", "null", "array", "object", "any", ["string", "null"])
PATTERNS = (
    "^a+$",
    "^(a|b){1,20}$",
    r"\d{3}-\d{4}",
    "^(a+)+$",
    r"^\p{L}+$",
    r"(?=a)b",
    r"\bword\b",
    "[",
    "^(.{0,99}){0,99}x$",
)
FORMATS = ("date", "date-time", "uuid", "email", "ipv4", "uri", "binary", "path", "password", "no-such-format")
NAMES = ("a", "b", "name", "", "ü", "$ref", "x y", "\ud800", "</tool_call>")


def random_schema(rng: random.Random, depth: int = 0) -> Any:
    """Make a schema of up to four levels. One keyword in twelve has an unusual value."""
    if depth > 3 or rng.random() < 0.05:
        return rng.choice((True, False, {}, {"type": "string"}, {"const": 1}))
    schema: dict[str, Any] = {}
    if rng.random() < 0.7:
        schema["type"] = rng.choice(TYPES)
    for keyword in rng.sample(tuple(KEYWORDS), rng.randrange(0, 5)):
        schema[keyword] = odd_value(rng) if rng.random() < 1 / 12 else KEYWORDS[keyword](rng, depth + 1)
    if depth == 0 and rng.random() < 0.3:
        schema["$defs"] = {name: random_schema(rng, 1) for name in rng.sample(NAMES, 2)}
    return schema


def _several(rng: random.Random, depth: int) -> list[Any]:
    return [random_schema(rng, depth) for _ in range(rng.randrange(1, 4))]


def _named(rng: random.Random, depth: int) -> dict[str, Any]:
    return {name: random_schema(rng, depth) for name in rng.sample(NAMES, rng.randrange(0, 4))}


def _count(rng: random.Random, depth: int) -> Any:
    return rng.choice((0, 1, 2, 5, 100, 5.0, 2**40, -1))


def _number(rng: random.Random, depth: int) -> Any:
    return rng.choice((0, 1, -5, 2.5, 2**63, -(2**63), 1e300))


KEYWORDS: dict[str, Any] = {
    "properties": _named,
    "required": lambda rng, depth: rng.sample(NAMES, rng.randrange(0, 3)),
    "additionalProperties": random_schema,
    "patternProperties": lambda rng, depth: {rng.choice(PATTERNS): random_schema(rng, depth)},
    "propertyNames": random_schema,
    "minProperties": _count,
    "maxProperties": _count,
    "dependentRequired": lambda rng, depth: {"a": ["b"]},
    "items": random_schema,
    "prefixItems": _several,
    "contains": random_schema,
    "minItems": _count,
    "maxItems": _count,
    "uniqueItems": lambda rng, depth: True,
    "anyOf": _several,
    "oneOf": _several,
    "allOf": _several,
    "not": random_schema,
    "if": random_schema,
    "then": random_schema,
    "enum": lambda rng, depth: [odd_value(rng) for _ in range(rng.randrange(0, 4))],
    "const": lambda rng, depth: odd_value(rng),
    "pattern": lambda rng, depth: rng.choice(PATTERNS),
    "format": lambda rng, depth: rng.choice(FORMATS),
    "minLength": _count,
    "maxLength": _count,
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "multipleOf": _number,
    "$ref": lambda rng, depth: rng.choice(("#", "#/$defs/a", "#/$defs/b", "#/nowhere", "https://example.org/s", "#a")),
    "title": lambda rng, depth: "a title",
    "description": lambda rng, depth: odd_value(rng),
    "default": lambda rng, depth: odd_value(rng),
    "deprecated": lambda rng, depth: True,
    "x-foreign": lambda rng, depth: odd_value(rng),
}


class Schemas:
    """Asks a model for answers that follow random schemas.

    Args:
        folder: an empty one, for the model.
    """

    def __init__(self, folder: Path) -> None:
        written = checkpoints.write_checkpoint(folder / "model")
        self._model = qwen3cpu.load(written.folder, "f32", context=256, threads=1)

    def ask_at_random(self, rng: random.Random) -> None:
        """Ask once, with a random schema, for an answer or for a call."""
        self.ask(random_schema(rng), call=rng.random() >= 0.5)

    def ask(self, schema: Any, *, call: bool) -> None:
        """Ask for an answer that follows a schema, or for a call of a tool whose parameters it describes."""
        if not call:
            self._model.generate("hello", schema=schema, max_new_tokens=12, seed=1, thinking=False)
        else:
            tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
            self._model.generate(
                [{"role": "user", "content": "hello"}], tools=[tool], max_new_tokens=4, seed=1, thinking=False
            )
