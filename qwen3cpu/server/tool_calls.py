"""Tool calls in OpenAI's form."""

from __future__ import annotations

import json
import secrets
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A call of a function.

    Attributes:
        id: made up here; models write none.
        name: of the function.
        arguments: JSON text of an object.
    """

    id: str
    name: str
    arguments: str

    def chat(self) -> dict[str, Any]:
        """As chat completions have it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


def parse_call(written: str) -> Call | None:
    """What a model wrote between its markers, `{"name": ..., "arguments": {...}}`; None for anything else."""
    try:
        call = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    return Call(f"call_{secrets.token_hex(12)}", call["name"], json.dumps(arguments, ensure_ascii=False))


def as_text(written: str) -> str:
    """What is no call, shown as the model wrote it."""
    return f"<tool_call>\n{written}\n</tool_call>"
