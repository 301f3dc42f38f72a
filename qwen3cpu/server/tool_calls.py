"""Tool calls in OpenAI's form."""

from __future__ import annotations

import json
import secrets
from typing import Any


def openai_call(written: str) -> dict[str, Any]:
    """A call as the model wrote it, `{"name": ..., "arguments": {...}}`, in OpenAI's form, with an id of its own.

    What is not such an object is handed on as the arguments of a function without a name.
    """
    name, arguments = "", written
    try:
        call = json.loads(written)
        if isinstance(call, dict) and isinstance(call.get("name"), str):
            name = call["name"]
            arguments = json.dumps(call.get("arguments") or {}, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
