"""Converts bodies of Anthropic's Messages API to the body of a chat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from qwen3cpu.server.api.anthropic.blocks import Conversation, Json
from qwen3cpu.server.api.bodies import EFFORTS, ChatBody
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.foreign_fields import Translated, is_one_of
from qwen3cpu.server.api.json_words import kind_of, shown

CHOICES = {"auto": "auto", "any": "required", "none": "none"}
"""Type of Anthropic's `tool_choice` -> the word for it in a chat."""
KINDS = ("enabled", "disabled", "adaptive", "between_tools")
"""Types of `thinking`."""


class MessagesBody(ChatBody):
    """POST /v1/messages and /v1/messages/count_tokens."""

    left_out: ClassVar[frozenset[str]] = frozenset(
        ("n", "stream_options", "modalities", "calls_as_function", "max_completion_tokens", "logprobs", "top_logprobs")
    )

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        body = {name: value for name, value in given.items() if value is not None}
        # Prefixes of prompts are always cached.
        body.pop("cache_control", None)
        ignored: list[str] = []
        places: dict[str, str] = {}
        if "stop_sequences" in body:
            body["stop"] = body.pop("stop_sequences")
            places["stop"] = "stop_sequences"
        _take_messages(body, places)
        _take_tools(body, ignored, places)
        effort = _take_output(body, ignored, places)
        _take_thinking(body, effort, ignored, places)
        found = super().translated(body)
        return Translated(found.body, [*ignored, *found.ignored], {**found.places, **places})

    def without_effect(self, context: int) -> Iterator[str]:
        """Nothing, because fields without a meaning are named where they are dropped."""
        yield from ()

    def options(self) -> dict[str, Any]:
        """See ChatBody."""
        budget = self.thinking_budget
        if budget is not None and self.max_tokens is not None and budget >= self.max_tokens:
            place = self.places.get("thinking_budget", "thinking_budget")
            expected = f"expected less than max_tokens ({self.max_tokens})"
            raise ApiError(400, f"{place}: {expected}, found {budget}", code="invalid_value", param=place)
        return super().options()


def _take_messages(body: Json, places: dict[str, str]) -> None:
    """Convert messages of blocks, with `system` before them. The answer continues a last message of the assistant."""
    messages = body.get("messages")
    conversation = Conversation()
    conversation.add_system(body.pop("system", None))
    if not isinstance(messages, list):
        return
    for index, message in enumerate(messages):
        conversation.add(message, f"messages[{index}]")
    if messages:
        body["messages"] = conversation.messages
        last = body["messages"][-1]
        if isinstance(last, dict) and last.get("role") == "assistant" and not last.get("tool_calls"):
            body |= {"continue_final_message": True, "thinking": {"type": "disabled"}}
    places |= conversation.places


def _take_tools(body: Json, ignored: list[str], places: dict[str, str]) -> None:
    """Convert `tools` and `tool_choice`. Anthropic's own tools, which have no schema, are ignored beside others."""
    tools = body.get("tools")
    if isinstance(tools, list):
        own = [isinstance(tool, dict) and tool.get("type", "custom") not in ("custom", None) for tool in tools]
        kept = [place for place in range(len(tools)) if not own[place]]
        if tools and not kept:
            message = f"tools[0]: expected a tool with an input_schema, found type {shown(tools[0].get('type'))}"
            raise ApiError(400, message, code="invalid_value", param="tools[0]")
        ignored += [f"tools[{place}]" for place in range(len(tools)) if own[place]]
        body["tools"] = [_function(tools[place], f"tools[{place}]") for place in kept]
        for index, place in enumerate(kept):
            here, there = f"tools[{index}]", f"tools[{place}]"
            places |= {here: there, f"{here}.function": there, f"{here}.function.parameters": f"{there}.input_schema"}
    choice = body.pop("tool_choice", None)
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(kind, str) or (kind != "tool" and kind not in CHOICES):
        expected = 'expected {"type": ...} with auto, any, tool or none'
        raise ApiError(
            400, f"tool_choice: {expected}, found {shown(choice)}", code="invalid_value", param="tool_choice"
        )
    if kind == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    else:
        body["tool_choice"] = CHOICES[kind]
    single = choice.get("disable_parallel_tool_use")
    if single is not None and not isinstance(single, bool):
        where = "tool_choice.disable_parallel_tool_use"
        raise ApiError(400, f"{where}: expected true or false, found {shown(single)}", param=where)
    if single:
        body["parallel_tool_calls"] = False


def _function(tool: Any, where: str) -> Any:
    """A tool in the form of a chat."""
    if not isinstance(tool, dict):
        raise ApiError(400, f"{where}: expected an object, found {kind_of(tool)}", param=where)
    names = {"name": "name", "description": "description", "input_schema": "parameters", "strict": "strict"}
    function = {own: tool[name] for name, own in names.items() if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _take_output(body: Json, ignored: list[str], places: dict[str, str]) -> Any:
    """Convert `output_config`, or the older `output_format`. Returns the effort."""
    config = body.pop("output_config", {})
    if not isinstance(config, dict):
        raise ApiError(400, f"output_config: expected an object, found {shown(config)}", param="output_config")
    ignored += [f"output_config.{name}" for name in config if name not in ("effort", "format")]
    where, wanted = "output_config.format", config.get("format")
    if wanted is None:
        where, wanted = "output_format", body.pop("output_format", None)
    if wanted is not None:
        if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
            expected = 'expected {"type": "json_schema", "schema": ...}'
            raise ApiError(400, f"{where}: {expected}, found {shown(wanted)}", code="invalid_value", param=where)
        if not isinstance(wanted.get("schema"), dict):
            found = shown(wanted.get("schema"))
            raise ApiError(400, f"{where}.schema: expected a JSON schema, found {found}", param=f"{where}.schema")
        schema = {"name": "answer", "schema": wanted["schema"]}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
        places["response_format.json_schema.schema"] = f"{where}.schema"
    return config.get("effort")


def _take_thinking(body: Json, effort: Any, ignored: list[str], places: dict[str, str]) -> None:
    """Convert `thinking`. Its default is off, because clients that do not send it expect text in the first block."""
    thinking = body.pop("thinking", {"type": "disabled"})
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in KINDS:
        place, found = ("thinking.type", kind) if isinstance(thinking, dict) else ("thinking", thinking)
        expected = f"expected one of {', '.join(KINDS)}" if isinstance(thinking, dict) else "expected an object"
        raise ApiError(400, f"{place}: {expected}, found {shown(found)}", code="invalid_value", param=place)
    thinks = kind != "disabled"
    if effort is not None and (not isinstance(effort, str) or effort not in EFFORTS):
        where = "output_config.effort"
        expected = f"expected one of {', '.join(EFFORTS)}"
        raise ApiError(400, f"{where}: {expected}, found {shown(effort)}", code="invalid_value", param=where)
    budget = thinking.get("budget_tokens")
    if thinks and budget is not None:
        body["thinking_budget"] = budget
        places["thinking_budget"] = "thinking.budget_tokens"
    elif thinks and effort is not None:
        # A budget that leaves room for the answer.
        most = body.get("max_tokens")
        tokens = EFFORTS[effort]
        if tokens is not None and not (type(most) is int and tokens >= most):
            body["thinking_budget"] = tokens
    elif effort is not None:
        ignored.append("output_config.effort")
    neutral = is_one_of(thinking.get("display"), (None, "summarized"))
    others = [name for name in thinking if name not in ("type", "budget_tokens", "display")]
    ignored += [f"thinking.{name}" for name in ([] if neutral else ["display"]) + others]
    if not isinstance(body.get("chat_template_kwargs"), dict):
        body["chat_template_kwargs"] = {"enable_thinking": thinks}
    else:
        body["chat_template_kwargs"] = {"enable_thinking": thinks, **body["chat_template_kwargs"]}
