"""The body of /v1/responses, and its conversion to messages and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from qwen3cpu.server.api.bodies import Generation, Items, Part, StreamOptions, thinking_options
from qwen3cpu.server.api.chat_input import Asked, check_counts, checked_forms, checked_schema, make_request, tool_use
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of, shown
from qwen3cpu.server.api.stops import checked_stop
from qwen3cpu.server.scheduling.service import Service

MOST_METADATA = 64
"""The largest number of entries of `metadata`, which every event of a stream may repeat. OpenAI allows 16."""
ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles of messages."""
TEXT_PARTS = ("input_text", "output_text", "text")


class Reasoning(Part):
    """`reasoning`. There are no summaries, because the reasoning itself is in the output."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None

    def unknown(self, where: str) -> Iterator[str]:
        """See Part."""
        yield from super().unknown(where)
        yield from (f"{where}.{name}" for name in ("summary", "generate_summary") if getattr(self, name) is not None)


class TextFormat(Part):
    """`text.format`."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = None
    strict: bool | None = None


class Text(Part):
    """`text`."""

    format: TextFormat | None = None
    verbosity: str | None = None

    def unknown(self, where: str) -> Iterator[str]:
        """See Part. The default of `verbosity` is medium."""
        yield from super().unknown(where)
        if self.verbosity not in (None, "medium"):
            yield f"{where}.verbosity"


class ResponsesBody(Generation):
    """POST /v1/responses."""

    endpoint = "responses"

    input: str | Items[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None
    tools: Items[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: Text | None = None
    stream_options: StreamOptions | None = None
    include: Items[str] | None = None
    truncation: Literal["disabled", "auto"] | None = None
    # Repeated in the response.
    metadata: dict[str, Any] | None = None
    user: str | None = None
    # Nothing is kept between requests.
    previous_response_id: None = None
    conversation: None = None
    background: Literal[False] | None = None
    stop: str | Items[str] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def without_effect(self, context: int) -> Iterator[str]:
        """OpenAI's fields that ask for something that this server does not do."""
        if self.include:
            yield "include"
        if self.truncation == "auto":
            yield "truncation"

    def options(self) -> dict[str, Any]:
        """Options of Model.generate, without tools and schemas."""
        if self.metadata is not None and len(self.metadata) > MOST_METADATA:
            expected = f"expected at most {MOST_METADATA} entries, found {len(self.metadata)}"
            raise ApiError(400, f"metadata: {expected}", code="invalid_value", param="metadata")
        effort = None if self.reasoning is None else self.reasoning.effort
        return {
            **self.sampling(),
            "stop": checked_stop(self.stop),
            "max_new_tokens": self.max_output_tokens,
            **thinking_options(effort, self.chat_template_kwargs, self.thinking_budget, "reasoning.effort"),
        }


def responses_request(service: Service, body: ResponsesBody) -> Asked:
    """The messages and the checked options of a request. Call it on a thread of the workshop."""
    messages = [{"role": "system", "content": body.instructions}] if body.instructions is not None else []
    messages += _messages(body.input)[0]
    check_counts(service, messages, body.tools)
    tools = tool_use(service, _functions(body.tools), _choice(body.tool_choice), body.parallel_tool_calls)
    schema = _schema(service, body.text)
    return make_request(service, messages, body.options(), tools, schema, checked_forms(service, body, schema))


def message_places(body: ResponsesBody) -> dict[str, str]:
    """The places in the body of the messages and their fields, as errors name them; empty for a refused body."""
    first = 0 if body.instructions is None else 1
    try:
        found = _messages(body.input, first)[1]
    except ApiError:
        return {}
    instructions = {"messages[0]": "instructions", "messages[0].content": "instructions"} if first else {}
    return {"messages": "input", **instructions, **found}


def _functions(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    functions = []
    for index, tool in enumerate(tools or ()):
        if tool.get("type") != "function":
            found = f"type {shown(tool.get('type'))}"
            where = f"tools[{index}]"
            raise ApiError(400, f"{where}: expected a tool of type function, found {found}", param=where)
        functions.append({name: value for name, value in tool.items() if name != "type" and value is not None})
    return functions


def _choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    if isinstance(choice, dict) and choice.get("type") != "function":
        return {"name": choice.get("type")}
    return choice


def _schema(service: Service, text: Text | None) -> dict[str, Any] | None:
    wanted = None if text is None else text.format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.schema_ is None:
        raise ApiError(400, "text.format: expected a schema", param="text.format.schema")
    return checked_schema(service, wanted.schema_, "text.format.schema")


def _messages(given: str | list[dict[str, Any]], first: int = 0) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The messages of the items of `input`, and their places. Reasoning and calls go into the assistant's message.

    Args:
        given: the items, or a text.
        first: the number of messages before them.
    """
    if isinstance(given, str):
        here = f"messages[{first}]"
        return [{"role": "user", "content": given}], {here: "input", f"{here}.content": "input"}
    messages: list[dict[str, Any]] = []
    places: dict[str, str] = {}
    assistant: dict[str, Any] | None = None
    for index, item in enumerate(given):
        where = f"input[{index}]"
        kind = item.get("type", "message")
        role = "assistant" if kind in ("reasoning", "function_call") else item.get("role")
        if role != "assistant":
            assistant = None
        elif assistant is None or (kind != "function_call" and "content" in assistant):
            assistant = {"role": "assistant"}
            messages.append(assistant)
            places[f"messages[{first + len(messages) - 1}]"] = where
        here = f"messages[{first + len(messages)}]"
        if kind == "function_call_output":
            output = _text(item.get("output"), f"{where}.output")
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
            places |= {here: where, f"{here}.content": f"{where}.output", f"{here}.tool_call_id": f"{where}.call_id"}
        elif kind == "message" and assistant is None:
            if not isinstance(role, str) or role not in ROLES:
                expected = f"expected one of {', '.join(ROLES)}, found {shown(role)}"
                raise ApiError(400, f"{where}.role: {expected}", code="invalid_value", param=f"{where}.role")
            role = "system" if role == "developer" else role
            messages.append({"role": role, "content": _text(item.get("content"), f"{where}.content")})
            places[here] = where
        elif assistant is not None:
            _add(assistant, kind, item, where)
            here = f"messages[{first + len(messages) - 1}]"
            if kind == "function_call":
                call = f"{here}.tool_calls[{len(assistant['tool_calls']) - 1}]"
                places |= {call: where, f"{call}.function": where}
            elif kind in ("message", "reasoning"):
                name = "content" if kind == "message" else "reasoning_content"
                places[f"{here}.{name}"] = f"{where}.content"
        else:
            raise ApiError(
                400, f"{where}: expected a message, a function call or its output, found {kind!r}", param=where
            )
    for message in messages:
        if message["role"] == "assistant" and "tool_calls" not in message:
            message.setdefault("content", "")
    return messages, places


def _add(assistant: dict[str, Any], kind: object, item: Mapping[str, Any], where: str) -> None:
    """Add an item to the assistant's message that it belongs to."""
    if kind == "reasoning":
        parts = item.get("content") or item.get("summary") or []
        assistant["reasoning_content"] = _text(parts, f"{where}.content", ("reasoning_text", "summary_text"))
    elif kind == "function_call":
        call = {"name": item.get("name"), "arguments": item.get("arguments")}
        calls = assistant.setdefault("tool_calls", [])
        calls.append({"id": item.get("call_id"), "type": "function", "function": call})
    elif kind == "message":
        assistant["content"] = _text(item.get("content"), f"{where}.content")
    else:
        raise ApiError(400, f"{where}: expected an item of the assistant, found {kind!r}", param=where)


def _text(content: object, where: str, kinds: tuple[str, ...] = TEXT_PARTS) -> str:
    """A text, or the joined parts of text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ApiError(400, f"{where}: expected text or a list of parts, found {kind_of(content)}", param=where)
    texts = []
    for index, part in enumerate(content):
        here = f"{where}[{index}]"
        if not isinstance(part, dict) or part.get("type") not in kinds:
            found = f"a part of type {shown(part.get('type'))}" if isinstance(part, dict) else kind_of(part)
            raise ApiError(400, f"{here}: expected a part of text, found {found}", param=here)
        if not isinstance(part.get("text"), str):
            found = kind_of(part.get("text"))
            raise ApiError(400, f"{here}.text: expected a string, found {found}", param=f"{here}.text")
        texts.append(part["text"])
    return "".join(texts)
