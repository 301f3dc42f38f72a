"""Tests small schemas with the grammar's engine (llguidance): one place each, without the schemas below it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.llguidance_calls import LIBRARY
from qwen3cpu.text.memo import remembered

IMPOSSIBLE = "Unsatisfiable schema"
"""Part of the engine's message when no value follows the schema."""
KEPT_BYTES: Final = 4 << 20
"""Most bytes of results that are kept for each kind of test, with their schemas; a usual one takes about 500."""


def problem_of(schema: Any) -> str | None:
    """The engine's error for a small schema; None: it takes the schema.

    Raises:
        ArgumentError: llguidance is missing.
    """
    return _problem(json.dumps(schema))


def allows_more_keys(names: tuple[str, ...], patterns: tuple[str, ...], *, others: bool) -> bool:
    """Whether an object may have a key that is not one of `names`: one that a pattern matches, or any if `others`.

    If this were wrong, an answer could reach a place where the grammar allows no token.
    """
    schema = {
        "type": "object",
        "properties": dict.fromkeys(names, False),
        "patternProperties": dict.fromkeys(patterns, True),
        "additionalProperties": others,
        "minProperties": 1,
    }
    return _goes_on(json.dumps(schema), '{"')


@remembered(KEPT_BYTES)
def _problem(schema: str) -> str | None:
    with LIBRARY:
        matcher = _matcher(schema)
        return str(matcher.get_error()) if matcher.is_error() else None


@remembered(KEPT_BYTES)
def _goes_on(schema: str, text: str) -> bool:
    with LIBRARY:
        matcher = _matcher(schema)
        taken = not matcher.is_error() and matcher.consume_tokens(list(text.encode()))
        return bool(taken and any(matcher.compute_bitmask()) and not matcher.is_error())


def _matcher(schema: str) -> Any:
    try:
        from llguidance import LLMatcher
    except ImportError:
        raise ArgumentError("a schema needs llguidance: pip install 'qwen3cpu[schema]'") from None
    return LLMatcher(_bytes(), f"start: %json {schema}", log_level=0)


@lru_cache(maxsize=1)
def _bytes() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
