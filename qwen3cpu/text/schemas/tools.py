"""Makes valid JSON schemas of the parameters of tools. A tool whose parameters are not valid gets free calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qwen3cpu.text.memo import remembered
from qwen3cpu.text.schemas.checking import schema_problem

KEPT_BYTES: Final = 8 << 20
"""Most bytes of checked parameters that are kept."""
_VALUES = ("const", "default", "enum", "examples")
"""Keywords whose values are not schemas; null stays in them."""


def with_checkable_parameters(tools: Sequence[Mapping[str, Any]] | None) -> Sequence[Mapping[str, Any]] | None:
    """Return descriptions of tools in which every `parameters` that is an object is a valid JSON schema.

    Programs write `"required": null`, `"type": "any"` and the like, and one such tool must not break the others. A
    schema that is valid without its nulls loses them; any other becomes a schema that takes any arguments.
    """
    return None if tools is None else [_with_checkable_parameters(tool) for tool in tools]


def _with_checkable_parameters(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = tool.get("function", tool)
    parameters = function.get("parameters")
    if not isinstance(parameters, dict):
        return tool
    checked = {**function, "parameters": json.loads(_checkable(json.dumps(parameters)))}
    return {**tool, "function": checked} if "function" in tool else checked


@remembered(KEPT_BYTES)
def _checkable(schema: str) -> str:
    plain = json.loads(schema)
    for candidate in (plain, _without_nulls(plain)):
        if schema_problem(candidate) is None:
            return json.dumps(candidate)
    return '{"type": "object"}'


def _without_nulls(value: Any) -> Any:
    """A copy without keywords whose value is null; null stays where it is a value itself."""
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if each is not None or name in ("const", "default")}
        return {name: each if name in _VALUES else _without_nulls(each) for name, each in kept.items()}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
