"""Checks the functions of a request, and whether the model can call them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwen3cpu.errors import MessageError
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of, shown
from qwen3cpu.server.scheduling.service import Service

_TOOLS = re.compile(r"\btools\b")

_NAME = re.compile(r"[\w.-]{1,128}")


def shows_tools(template: str | None) -> bool:
    """Whether a chat template shows tools to the model. None: the model has no template."""
    return template is not None and _TOOLS.search(template) is not None


def check_calling(service: Service, messages: Sequence[Mapping[str, Any]], *, tools: bool) -> None:
    """Refuse what the model would not see.

    Args:
        service: has the model.
        messages: the messages, which may have calls.
        tools: whether there are tools for the model.

    Raises:
        MessageError: the model cannot call functions, or its chat template leaves out calls.
    """
    template, name = service.model.chat_template, service.settings.model_name
    if tools:
        tokenizer = service.model.tokenizer
        reason = "its chat template shows no tools" if not shows_tools(template) else None
        if tokenizer.tool_call is None or tokenizer.end_tool_call is None:
            reason = "it has no tokens for calls"
        if reason is not None:
            raise MessageError(f"tools: expected a model that can call functions, found {name}: {reason}")
    if template is None or "tool_calls" in template:
        return
    for index, message in enumerate(messages):
        if message.get("tool_calls"):
            place = f"messages[{index}].tool_calls[0]"
            raise MessageError(f"{place}: expected no call, because the chat template of {name} leaves out calls")


def check_function(function: Mapping[str, Any], where: str) -> None:
    """Check the fields of a function besides its schema.

    Args:
        function: has a name, which is a string.
        where: its place, for errors.

    Raises:
        ApiError: a field that is wrong.
    """
    if not _NAME.fullmatch(function["name"]):
        expected = 'expected at most 128 letters, digits, "_", "-" and "."'
        raise _wrong(f"{where}.name", f"{expected}, found {shown(function['name'])}")
    for name, kind, expected in (("description", str, "a string"), ("strict", bool, "true or false")):
        value = function.get(name)
        if value is not None and not isinstance(value, kind):
            raise _wrong(f"{where}.{name}", f"expected {expected}, found {kind_of(value)}")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        found = kind_of(parameters)
        raise _wrong(f"{where}.parameters", f"expected a JSON schema (an object), found {found}")
    kinds = (parameters or {}).get("type", "object")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        raise _wrong(f"{where}.parameters.type", f"expected 'object', found {shown(kinds)}")


def _wrong(place: str, problem: str) -> ApiError:
    return ApiError(400, f"{place}: {problem}", code="invalid_value", param=place)
