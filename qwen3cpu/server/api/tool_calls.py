"""Tool calls in OpenAI's form."""

from __future__ import annotations

import json
from typing import Any

from qwen3cpu.text.tool_calls import ToolCall


def arguments_text(call: ToolCall) -> str:
    """The arguments as JSON text, as in OpenAI's API."""
    return json.dumps(call.arguments, ensure_ascii=False)


def chat_call(call: ToolCall) -> dict[str, Any]:
    """A call in the form of chat completions."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments_text(call)}}
