"""Asks the grammar's engine (llguidance) what it makes of small schemas: one place, without what is below it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.llguidance_calls import LIBRARY
from qwen3cpu.text.memo import remembered

IMPOSSIBLE = "Unsatisfiable schema"
"""In the engine's message: no value follows the schema."""
KEPT_BYTES: Final = 4 << 20
"""Bytes of the answers of each kind that are kept, with their questions; one of a usual schema takes about 500."""


def problem_of(schema: Any) -> str | None:
    """What the engine has against a small schema; None: nothing.

    Raises:
        ArgumentError: llguidance is missing.
    """
    return _problem(json.dumps(schema))


def allows_more_keys(names: tuple[str, ...], patterns: tuple[str, ...], *, others: bool) -> bool:
    """Whether an object may have a key that is none of `names`: one that a pattern matches, or any if `others`.

    A grammar that believes so wrongly comes to a place where no token is possible.
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
