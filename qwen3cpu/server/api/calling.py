"""Whether a model can call functions, and the refusal of requests that need it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwen3cpu.errors import MessageError
from qwen3cpu.server.scheduling.service import Service

_TOOLS = re.compile(r"\btools\b")


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
