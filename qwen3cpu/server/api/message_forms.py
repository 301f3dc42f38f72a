"""Converts messages of OpenAI's, Anthropic's and Ollama's clients to those of this package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of, shown
from qwen3cpu.text.messages import REASONING_NAMES

TEXT_KINDS = ("text", "input_text", "output_text")
THINKING_KINDS = ("thinking", "reasoning", "reasoning_text")
ROLES = {"developer": "system", "function": "tool"}
"""Other names of roles."""
READ = frozenset(
    (*REASONING_NAMES, "role", "content", "tool_calls", "tool_call_id", "function_call", "refusal", "cache_control")
)
"""The fields of messages that have a meaning, whatever the chat template reads."""
KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""The roles that messages may have."""


def unread_fields(messages: list[dict[str, Any]], template: str | None) -> Iterator[str]:
    """The places of fields of messages that neither this server nor the chat template of the model reads."""
    reads = _read_by(template or "")
    for index, message in enumerate(messages):
        for name, value in message.items():
            is_read = name in READ or reads is None or name in reads
            if value not in (None, [], {}) and not is_read and (name, message.get("role")) != ("name", "function"):
                yield f"messages[{index}].{name}"


@lru_cache(4)
def _read_by(template: str) -> frozenset[str] | None:
    """The fields of messages that a chat template reads; None: all, because it writes whole messages as JSON."""
    variables = re.findall(r"\bfor\s+(\w+)\s+in\s[^%]*messages|\bset\s+(\w+)\s*=\s*messages\b", template)
    message = "|".join({"message", "messages", *(name for pair in variables for name in pair if name)})
    if re.search(rf"\b(?:{message})(?:\[[^\[\]]*\])?\s*\|\s*tojson", template):
        return None
    return frozenset(re.findall(rf"\b(?:{message})(?:\[-?\w+\])?(?:\.get\(|\.|\[)\s*['\"]?([a-z_]\w*)", template))


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
