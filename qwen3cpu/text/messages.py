"""Checks conversations and tool descriptions of callers, and makes plain copies for a template.

The copies consist of dict, list, str, int, float, bool and None only. So a template, which is foreign code, never gets
an object with other methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qwen3cpu.errors import MessageError
from qwen3cpu.text.tokenizer import check_text

ROLES = ("system", "user", "assistant", "tool")
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")
"""Keys that callers use for an assistant's reasoning; templates read the first."""
MAX_DEPTH = 64
"""Most levels of nesting in tool schemas and arguments; deeper ones are a mistake or an attack on the JSON writer."""


def check_messages(messages: object) -> list[dict[str, Any]]:
    """Return a plain copy of a conversation: content joined into one str, keys without a value left out.

    Each message is a mapping with `role` (system, user, assistant, tool) and `content`: a str, or a list of
    `{"type": "text", "text": ...}` parts, which are joined. An assistant's content may be None or missing if it has
    `tool_calls`: each `{"function": {"name": ..., "arguments": ...}}` or the inner mapping alone, arguments being a
    mapping or the JSON text of one. An assistant may have `reasoning_content` (or `reasoning`, `thinking`), a str.
    Other keys are kept unchanged, for templates that use them.

    Raises:
        MessageError: names the message's index, the field, what was expected and what was found.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)):
        raise MessageError(f"messages: expected a list of messages, found {_kind(messages)}")
    if not messages:
        raise MessageError("messages: expected at least one message, found none")
    return [_check_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def check_tools(tools: object) -> list[dict[str, Any]] | None:
    """Return a plain copy of tool descriptions: JSON schemas with a name, alone or under `function`.

    Raises:
        MessageError: names the tool's index, what was expected and what was found.
    """
    if tools is None:
        return None
    if not isinstance(tools, Sequence) or isinstance(tools, (str, bytes)):
        raise MessageError(f"tools: expected a list of JSON schemas, found {_kind(tools)}")
    return [_check_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def plain_json(value: object, where: str) -> Any:
    """Return a copy of a value in a message, made of JSON's own types. MessageError for other types."""
    return _plain(value, where, 1)


def _check_tool(tool: object, where: str) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise MessageError(f"{where}: expected a JSON schema (a dict), found {_kind(tool)}")
    function, field = tool, where
    if "function" in tool:
        function, field = tool["function"], f"{where}.function"
        if not isinstance(function, Mapping):
            raise MessageError(f"{field}: expected a dict, found {_kind(function)}")
    _check_name(function, field)
    return _plain_dict(tool, where)


def _check_message(message: object, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise MessageError(f"{where}: expected a dict with role and content, found {_kind(message)}")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise MessageError(f"{where}.role: expected one of {', '.join(ROLES)}, found {_shown(role)}")
    given = {key: value for key, value in message.items() if value is not None}
    checked: dict[str, Any] = {"role": str.__str__(role)}
    calls = given.get("tool_calls")
    if calls is not None:
        calls = _check_tool_calls(calls, role, f"{where}.tool_calls")
    if "content" in given:
        checked["content"] = _check_content(given["content"], f"{where}.content")
    elif not calls:
        rest = " (None only beside tool_calls)" if role == "assistant" else ""
        raise MessageError(f"{where}.content: expected a str or a list of text parts{rest}, found None")
    reasoning = _check_reasoning(given, role, where)
    if reasoning is not None:
        checked["reasoning_content"] = reasoning
    if calls is not None:
        checked["tool_calls"] = calls
    read = {"role", "content", "tool_calls", *REASONING_NAMES}
    checked |= _plain_dict({key: value for key, value in given.items() if key not in read}, where)
    # Keep the caller's order, because a template may write a message as JSON.
    return {key: checked[key] for key in given if key in checked} | checked


def _check_content(content: object, where: str) -> str:
    if isinstance(content, str):
        return _plain_text(content, where)
    if not isinstance(content, Sequence) or isinstance(content, (bytes, bytearray)):
        raise MessageError(f"{where}: expected a str or a list of text parts, found {_kind(content)}")
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or kind != "text":
            found = f"a part of type {_shown(kind)}" if isinstance(part, Mapping) else _kind(part)
            raise MessageError(f'{where}[{index}]: expected {{"type": "text", "text": ...}}, found {found}')
        texts.append(_plain_text(part.get("text"), f"{where}[{index}].text"))
    return "".join(texts)


def _check_reasoning(message: Mapping[str, Any], role: str, where: str) -> str | None:
    name = next((name for name in REASONING_NAMES if name in message), None)
    if name is None:
        return None
    if role != "assistant":
        raise MessageError(f"{where}.{name}: expected in assistant messages only, found in a {role} message")
    return _plain_text(message[name], f"{where}.{name}")


def _check_tool_calls(calls: object, role: str, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, Sequence) or isinstance(calls, (str, bytes)):
        raise MessageError(f"{where}: expected a list of calls, found {_kind(calls)}")
    if calls and role != "assistant":
        raise MessageError(f"{where}: expected in assistant messages only, found in a {role} message")
    return [_check_tool_call(call, f"{where}[{index}]") for index, call in enumerate(calls)]


def _check_tool_call(call: object, where: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise MessageError(f"{where}: expected a dict with name and arguments, found {_kind(call)}")
    function, field = call, where
    if call.get("function") is not None:
        function, field = call["function"], f"{where}.function"
        if not isinstance(function, Mapping):
            raise MessageError(f"{field}: expected a dict with name and arguments, found {_kind(function)}")
    _check_name(function, field)
    arguments = function.get("arguments")
    if not isinstance(arguments, (str, Mapping)):
        raise MessageError(f"{field}.arguments: expected a dict or its JSON text, found {_kind(arguments)}")
    return _plain_dict(call, where)


def _check_name(function: Mapping[str, Any], where: str) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise MessageError(f"{where}.name: expected the function's name, found {_shown(name)}")


def _plain_dict(value: Mapping[Any, Any], where: str, depth: int = 0) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        name = _plain_text(key, f"{where}: key {_shown(key)}")
        plain[name] = _plain(item, f"{where}.{name}", depth + 1)
    return plain


def _plain(value: object, where: str, depth: int) -> Any:
    """Return a copy made of JSON's own types. MessageError for other types."""
    if depth > MAX_DEPTH:
        raise MessageError(f"{where[:120]}...: expected at most {MAX_DEPTH} levels of nesting, found more")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value, where)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise MessageError(f"{where}: expected a finite number, found {value}")
        return float.__float__(value)
    if isinstance(value, Mapping):
        return _plain_dict(value, where, depth)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise MessageError(f"{where}: expected JSON (dict, list, str, number, bool, None), found {_kind(value)}")


def _plain_text(text: object, where: str) -> str:
    """Return an exact str: an enum or a NumPy str loses its class. MessageError for a lone surrogate."""
    check_text(text, where, MessageError)
    return str.__str__(text)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
