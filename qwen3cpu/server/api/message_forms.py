"""Converts messages of OpenAI's, Anthropic's and Ollama's clients to those of this package."""

from __future__ import annotations

import json
from typing import Any

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of, shown

TEXT_KINDS = ("text", "input_text", "output_text")
THINKING_KINDS = ("thinking", "reasoning", "reasoning_text")
ROLES = {"developer": "system", "function": "tool"}
"""Other names of roles."""
KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""The roles that messages may have."""


def plain_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with this package's names of roles, parts and fields.

    Raises:
        ApiError: a part of a kind that the model cannot read; the message names its place.
    """
    return [_plain(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _plain(message: dict[str, Any], where: str) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str) or role not in KNOWN_ROLES:
        expected = f"expected one of {', '.join(KNOWN_ROLES)}, found {shown(role)}"
        raise ApiError(400, f"{where}.role: {expected}", code="invalid_value", param=f"{where}.role")
    plain = {**message, "role": ROLES.get(role, role)}
    if role == "function":
        plain.setdefault("tool_call_id", plain.get("name"))
    content = message.get("content")
    if isinstance(content, list) and not (plain["role"] == "tool" and not _are_parts(content)):
        plain["content"] = _parts(content, plain, f"{where}.content")
    elif plain["role"] == "tool" and not isinstance(content, str):
        # The result of a tool as JSON; null becomes an empty text.
        plain["content"] = "" if content is None else json.dumps(content, ensure_ascii=False)
    if plain["role"] == "assistant":
        _take_calls(plain)
    return plain


def _take_calls(plain: dict[str, Any]) -> None:
    """Convert the fields of an assistant's message."""
    call = plain.pop("function_call", None)
    if call is not None and not plain.get("tool_calls"):
        plain["tool_calls"] = [{"type": "function", "function": call}]
    refusal = plain.pop("refusal", None)
    if plain.get("content") is None and not plain.get("tool_calls"):
        plain["content"] = refusal if isinstance(refusal, str) else ""


def _are_parts(content: list[Any]) -> bool:
    return bool(content) and all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in content)


def _parts(content: list[Any], message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The parts of text. Parts of thinking go into `reasoning_content` of the message."""
    texts: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for index, part in enumerate(content):
        place = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in TEXT_KINDS:
            texts.append({"type": "text", "text": _text(part.get("text"), f"{place}.text")})
        elif kind == "refusal" and message["role"] == "assistant":
            texts.append({"type": "text", "text": _text(part.get("refusal"), f"{place}.refusal")})
        elif kind in THINKING_KINDS and message["role"] == "assistant":
            thoughts.append(_text(part.get("thinking", part.get("text")), f"{place}.thinking"))
        elif kind != "redacted_thinking":
            found = f"a part of type {shown(kind)}" if isinstance(part, dict) else kind_of(part)
            raise ApiError(
                400,
                f'{place}: expected {{"type": "text", "text": ...}}, found {found}',
                code="invalid_value",
                param=place,
            )
    if thoughts and message.get("reasoning_content") is None:
        message["reasoning_content"] = "".join(thoughts)
    return texts


def _text(text: object, where: str) -> str:
    if not isinstance(text, str):
        raise ApiError(400, f"{where}: expected text, found {kind_of(text)}", code="invalid_value", param=where)
    return text
