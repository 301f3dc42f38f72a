"""From a chat client's body to messages and options: roles, tools, tool_choice, response_format."""

from __future__ import annotations

import math
from typing import Any

from qwen3cpu.options import Request
from qwen3cpu.server.api_errors import ApiError
from qwen3cpu.server.bodies import ChatBody
from qwen3cpu.server.service import Service


def chat_request(service: Service, body: ChatBody) -> tuple[list[dict[str, Any]], Request]:
    """The messages and the checked options of a request."""
    check_counts(service, body.messages, body.tools)
    options = body.options()
    add_tools(service, options, body.tools, body.tool_choice)
    return plain_messages(body.messages), service.model.request(**options)


def check_counts(service: Service, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> None:
    """Refuse no messages, and more messages or tools than the server takes."""
    if not messages:
        raise ApiError(400, "messages: expected at least one message, found none", param="messages")
    for name, found, most in (
        ("messages", messages, service.settings.max_messages),
        ("tools", tools or [], service.settings.max_tools),
    ):
        if len(found) > most:
            raise ApiError(400, f"{name}: expected at most {most}, found {len(found)}", param=name)


def add_tools(
    service: Service, options: dict[str, Any], tools: list[dict[str, Any]] | None, choice: str | dict[str, Any] | None
) -> None:
    """Add tools in OpenAI's form to the options of Model.generate."""
    for index, tool in enumerate(tools or ()):
        if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            raise ApiError(400, f"tools[{index}]: expected a tool of type function", param=f"tools.{index}")
    if choice != "none":
        options["tools"] = tools or None
    elif (marker := service.model.tokenizer.tool_call) is not None:
        options["logit_bias"] = {**(options.get("logit_bias") or {}), marker: -math.inf}


def plain_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with OpenAI's newer name for the system role replaced."""
    return [{**message, "role": "system"} if message.get("role") == "developer" else message for message in messages]
