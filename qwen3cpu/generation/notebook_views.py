"""Answers and conversations as HTML, for notebooks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qwen3cpu.text import html_views

_SPEAKERS: Final = {"system": "System", "user": "You", "assistant": "Model", "tool": "Tool"}


def answer_view(message: Mapping[str, Any], title: str, figures: str) -> str:
    """An answer: its thinking folded under a title, its text rendered, its calls, and how long it took."""
    return html_views.view(*_answer(message, title), html_views.small(figures))


def dialogue_view(messages: Sequence[object]) -> str:
    """The messages of a conversation."""
    parts: list[str] = []
    for message in messages:
        if not isinstance(message, Mapping):  # a caller may have edited the history
            parts.append(html_views.plain(str(message)))
            continue
        role = str(message.get("role"))
        parts.append(html_views.heading(_SPEAKERS.get(role, role)))
        parts += _answer(message, "Thinking") if role == "assistant" else [html_views.plain(_text(message))]
    return html_views.view(*parts or [html_views.small("nothing has been said yet")])


def _answer(message: Mapping[str, Any], title: str) -> list[str]:
    """The parts of an assistant's message."""
    parts = []
    if message.get("reasoning_content"):
        parts.append(html_views.folded(title, str(message["reasoning_content"])))
    parts.append(html_views.markdown(_text(message)))
    parts += [html_views.plain(_call(call)) for call in message.get("tool_calls") or ()]
    return parts


def _call(call: object) -> str:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return str(call)
    return f"{function.get('name')}({json.dumps(function.get('arguments'), ensure_ascii=False, default=str)})"


def _text(message: Mapping[str, Any]) -> str:
    """The text of a message; its parts are joined by line breaks."""
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        return "\n".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part) for part in content)
    return "" if content is None else str(content)
