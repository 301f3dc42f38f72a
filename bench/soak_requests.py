"""Requests of soak.py: those whose answers never change, the compared parts of answers, schemas that take long."""

from __future__ import annotations

import json
from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
HOSTILE_SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object", "patternProperties": {f"^(a|b){{{i}}}$": {"type": "integer"} for i in range(250)}},
    {"type": "string", "pattern": "^(.{0,1000}){0,1000}x$"},
    {"anyOf": [{"type": "object", "properties": {f"k{i}": {"$ref": "#"}}} for i in range(200)]},
    {"type": "array", "items": {"enum": [f"value {i} " + "x" * 40 for i in range(500)]}, "minItems": 500},
)


def seeded_bodies() -> list[dict[str, Any]]:
    """Requests whose answers never change: plain, thinking, with a schema, with a tool, several at once."""
    bodies: list[dict[str, Any]] = []
    for number in range(12):
        question = f"What is {number + 3} + {2 * number + 1}?"
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": question}],
            "seed": number,
            "temperature": 0.8,
            "max_tokens": 48,
        }
        if number % 4 == 1:
            body |= {"reasoning_effort": "none", "n": 2}
        elif number % 4 == 2:
            body |= {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}}
            body |= {"reasoning_effort": "none"}
        elif number % 4 == 3:
            body |= {"tools": [TOOL], "tool_choice": "auto" if number % 8 == 3 else "required"}
        bodies.append(body)
    return bodies


def told(answer: dict[str, Any]) -> str:
    """An answer without ids and times."""
    choices = [
        {**choice, "message": {**choice["message"], "tool_calls": _calls(choice["message"].get("tool_calls"))}}
        for choice in answer["choices"]
    ]
    return json.dumps([choices, answer["usage"]["completion_tokens"]], sort_keys=True)


def _calls(calls: list[dict[str, Any]] | None) -> list[Any]:
    return [call["function"] for call in calls or ()]
