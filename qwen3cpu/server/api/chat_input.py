"""Turns a chat client's body into messages and options: roles, tools, tool_choice, response_format."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from qwen3cpu.errors import ContextLengthError
from qwen3cpu.generation.constraints import given_form
from qwen3cpu.generation.grammar import Grammar, answer_grammar
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.tool_choice import ToolUse, shown_tools
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.bodies import ChatBody, Generation, ResponseFormat
from qwen3cpu.server.api.calling import check_calling, check_function
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of, shown
from qwen3cpu.server.api.message_forms import plain_messages
from qwen3cpu.server.scheduling.service import Answers, Service
from qwen3cpu.text.messages import check_tools
from qwen3cpu.text.schemas.reading import SchemaError, check_depth, read_schema

MOST_SCHEMAS = 4
"""All tools of a request together may be this many times as large as the largest schema."""


class Asked(NamedTuple):
    """A request before its grammar is made.

    messages: checked messages. request: its checked options. make_grammar: makes the grammar that the answer must
    follow, which may take seconds; None if the answer is not constrained.
    """

    messages: list[dict[str, Any]]
    request: Request
    make_grammar: Callable[[], Grammar] | None


async def start_chat(service: Service, arrival: Arrival, body: ChatBody) -> tuple[list[int], Answers]:
    """Hand a chat to the scheduler. Returns the ids of its prompt, and its answers. Errors use the client's names."""
    with client_names("messages", body.names(), places=body.places):
        _, prompt, answers = await start_answer(
            service,
            arrival,
            partial(chat_request, service, body),
            lambda asked: chat_prompt(service, body, asked.messages, asked.request),
        )
    return prompt, answers


async def start_answer(
    service: Service, arrival: Arrival, ask: Callable[[], Asked], encode: Callable[[Asked], list[int]]
) -> tuple[Request, list[int], Answers]:
    """Hand one prompt to the scheduler. Returns its options, its ids, and the answers.

    Args:
        service: has the scheduler.
        arrival: the request's arrival.
        ask: makes the checked request, on a thread of the workshop.
        encode: gives the ids of the prompt, on a thread of the workshop.

    Raises:
        ArgumentError: those of `ask`, `encode` and `with_grammar`.
    """
    asked = await arrival.work(ask)
    prompt = await arrival.work(partial(encode, asked))
    request = await with_grammar(service, arrival, asked)
    return request, prompt, service.start([prompt], request, arrived=arrival.at)


async def with_grammar(service: Service, arrival: Arrival, asked: Asked) -> Request:
    """The options with the grammar, which is made on the workshop's thread for grammars.

    Raises:
        ArgumentError: the grammar is not supported. TimeLimitError, ClientGoneError: see `Arrival.work`.
    """
    if asked.make_grammar is None:
        return asked.request
    return await arrival.work(partial(following, service, asked), grammar=True)


def following(service: Service, asked: Asked) -> Request:
    """The options with the grammar, which may take seconds. ArgumentError when the grammar is not supported."""
    if asked.make_grammar is None:
        return asked.request
    grammar = asked.make_grammar()
    service.model.answerer.check_grammar(grammar)
    return replace(asked.request, grammar=grammar, check_answer=False)


def chat_request(service: Service, body: ChatBody) -> Asked:
    """The messages and the checked options of a request. Call it on a thread of the workshop."""
    check_counts(service, body.messages, body.tools)
    tools = tool_use(service, chat_functions(body.tools), chat_choice(body.tool_choice), _several(body))
    schema = answer_schema(service, body.response_format)
    messages = plain_messages(body.messages)
    return make_request(service, messages, body.options(), tools, schema, checked_forms(service, body, schema))


def _several(body: ChatBody) -> bool | None:
    """`parallel_tool_calls`. An answer in the old form of `functions` has at most one call."""
    return False if body.calls_as_function else body.parallel_tool_calls


def chat_prompt(service: Service, body: ChatBody, messages: list[dict[str, Any]], request: Request) -> list[int]:
    """The ids of the messages. With `continue_final_message` they end with the text of the last one.

    Raises:
        ApiError: the last message is not a text of the assistant, or no message comes before it.
        ArgumentError: see `Model.generate`.
    """
    if not body.continue_final_message:
        return service.encode(messages, request)
    last = messages[-1]
    content = last.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text")) for part in content)
    if last.get("role") != "assistant" or not isinstance(content, str) or last.get("tool_calls"):
        expected = "expected a last message of the assistant with text"
        raise ApiError(400, f"continue_final_message: {expected}", param="continue_final_message")
    if len(messages) == 1:
        expected = "expected a message before the one to continue, found only a message of the assistant"
        raise ApiError(400, f"messages: {expected}", code="invalid_value", param="messages")
    # The prompt of an answer without reasoning, followed by the text.
    before = service.encode(messages[:-1], replace(request, thinking=False))
    ids = before + service.encode(content, replace(request, raw=True, tools=None)) if content else before
    if len(ids) >= service.model.context:
        held = f"the context holds {service.model.context} positions"
        raise ContextLengthError(f"the prompt has {len(ids)} tokens, {held}")
    return ids


def check_counts(service: Service, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> None:
    """Raise ApiError for an empty list of messages, or more messages or tools than the server allows."""
    if not messages:
        raise ApiError(400, "messages: expected at least one message, found none", param="messages")
    for name, found, most in (
        ("messages", messages, service.settings.max_messages),
        ("tools", tools or [], service.settings.max_tools),
    ):
        if len(found) > most:
            raise ApiError(400, f"{name}: expected at most {most}, found {len(found)}", param=name)


def make_request(
    service: Service,
    messages: list[dict[str, Any]],
    options: dict[str, Any],
    tools: ToolUse,
    schema: dict[str, Any] | None,
    forms: dict[str, Any],
) -> Asked:
    """Messages and checked options of an answer that may call tools, or must follow a schema or another form."""
    marker = service.model.tokenizer.tool_call
    check_calling(service, messages, tools=bool(tools.functions) and tools.choice != "none")
    if tools.choice == "none":
        if marker is not None:
            options["logit_bias"] = {**(options.get("logit_bias") or {}), marker: -math.inf}
    elif tools.functions:
        options["tools"] = shown_tools([{"type": "function", "function": each} for each in tools.functions])
    # Arguments of calls are not checked by `call_schemas`. The client checks them, with its own regular expressions.
    request = replace(service.request(messages, **options), call_schemas=None)
    return Asked(messages, request, grammar_maker(service, tools, schema, forms, thinking=bool(request.thinking)))


def checked_forms(service: Service, body: Generation, schema: dict[str, Any] | None) -> dict[str, Any]:
    """The constraint of the answer besides JSON, checked by the limits of the server: one option, or none."""
    forms = body.forms()
    if len(forms) + (schema is not None) > 1:
        given_form(forms, schema)  # raises
    most = service.settings.max_schema
    for name, value in forms.items():
        size = len("".join(value).encode(errors="replace"))
        if size > most:
            raise ApiError(400, f"{name}: expected at most {most} bytes, found {size}", param=name)
    return forms


def grammar_maker(
    service: Service, tools: ToolUse, schema: dict[str, Any] | None, forms: dict[str, Any], *, thinking: bool
) -> Callable[[], Grammar] | None:
    """Return a function that makes the grammar of an answer; None if the answer is not constrained.

    Args:
        service: has the model.
        tools: the tools that may be called.
        schema: the schema that an answer in JSON must follow.
        forms: the result of `checked_forms`.
        thinking: whether a think block may come before the answer.
    """
    opens, closes = service.model.tokenizer.tool_call, service.model.tokenizer.end_tool_call
    calls = None if opens is None or closes is None else (opens, closes)
    if not forms and tools.grammar_arguments(schema, calls) is None:
        return None

    def make() -> Grammar:
        arguments = tools.grammar_arguments(schema, calls, given_form(forms))
        assert arguments is not None
        return answer_grammar(**arguments, after_thinking=thinking)

    return make


def answer_schema(service: Service, wanted: ResponseFormat | None) -> dict[str, Any] | None:
    """The schema of `response_format`; None for plain text."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.json_schema is None or wanted.json_schema.schema_ is None:
        raise ApiError(400, "response_format: expected json_schema.schema", param="response_format.json_schema.schema")
    return checked_schema(service, wanted.json_schema.schema_, "response_format.json_schema.schema")


def checked_schema(service: Service, schema: dict[str, Any], where: str) -> dict[str, Any]:
    """Check a schema by the limits of the server, and read it."""
    try:
        check_depth(schema)
    except SchemaError as error:
        raise error.at(where) from None
    size = len(json.dumps(schema))
    if size > service.settings.max_schema:
        raise ApiError(400, f"{where}: expected at most {service.settings.max_schema} bytes, found {size}", param=where)
    return read_schema(schema)


def chat_functions(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The functions in the `tools` of chat completions."""
    functions = []
    for index, tool in enumerate(tools or ()):
        where = f"tools[{index}]"
        if tool.get("type") != "function":
            found = f"type {shown(tool.get('type'))}"
            raise ApiError(400, f"{where}: expected a tool of type function, found {found}", param=where)
        function = tool.get("function")
        if not isinstance(function, dict):
            where = f"{where}.function"
            raise ApiError(400, f"{where}: expected an object, found {kind_of(function)}", param=where)
        functions.append(function)
    return functions


def chat_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """The `tool_choice` of chat completions, as a word or {"name": ...}."""
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("function"), dict):
        return dict(choice["function"])
    return choice


def tool_use(
    service: Service, functions: list[dict[str, Any]], choice: str | dict[str, Any] | None, parallel: bool | None
) -> ToolUse:
    """Check functions and `tool_choice`. Errors call the functions `tools[0].function` for every endpoint.

    Args:
        service: has the limits.
        functions: the functions of the client.
        choice: a word, {"name": ...}, or another value, which is refused.
        parallel: `parallel_tool_calls`.
    """
    checked = check_tools([{"type": "function", "function": each} for each in functions]) or []
    plain = tuple(tool["function"] for tool in checked)
    size, most = len(json.dumps(plain)), MOST_SCHEMAS * service.settings.max_schema
    if size > most:
        raise ApiError(400, f"tools: expected at most {most} bytes together, found {size}", param="tools")
    names = [each["name"] for each in plain]
    places = tuple(f"tools[{index}].function" for index in range(len(plain)))
    for each, place in zip(plain, places, strict=True):
        check_function(each, place)
        if each.get("parameters") is not None:
            checked_schema(service, each["parameters"], f"{place}.parameters")
    if isinstance(choice, dict):
        choice = choice.get("name")
        if choice not in names:
            raise ApiError(400, f"tool_choice: expected one of the tools, found {shown(choice)}", param="tool_choice")
    elif choice not in (None, "none", "auto", "required"):
        expected = "expected none, auto or required, or an object that names a function"
        raise ApiError(400, f"tool_choice: {expected}, found {shown(choice)}", param="tool_choice")
    elif choice == "required" and not plain:
        raise ApiError(400, "tool_choice: required, but there are no tools", param="tool_choice")
    return ToolUse(plain, places, choice or "auto", parallel is not False)
