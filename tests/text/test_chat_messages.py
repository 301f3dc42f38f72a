"""The allowed forms of conversations and tools, and the errors for other forms."""

from __future__ import annotations

import enum
import re
from types import MappingProxyType
from typing import Any

import pytest

from qwen3cpu.errors import MessageError
from qwen3cpu.text.messages import MAX_DEPTH, check_messages, check_tools


class Role(str, enum.Enum):
    """A role as applications define it."""

    USER = "user"


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1, 2.5, None, True]}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"role": "user", "content": "a"}, {"role": "user", "content": "a"}),
        ({"role": "user", "content": ""}, {"role": "user", "content": ""}),
        ({"role": Role.USER, "content": "a"}, {"role": "user", "content": "a"}),
        (MappingProxyType({"role": "tool", "content": "a"}), {"role": "tool", "content": "a"}),
        ({"role": "user", "content": []}, {"role": "user", "content": ""}),
        (
            {"role": "user", "content": [{"type": "text", "text": "a\n"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "a\nb"},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "assistant", "tool_calls": [CALL]},
        ),
        (
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{}"}]},
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{}"}]},
        ),
        (
            {"role": "assistant", "content": "a", "tool_calls": None, "reasoning_content": None},
            {"role": "assistant", "content": "a"},
        ),
        (
            {"role": "assistant", "content": "a", "tool_calls": []},
            {"role": "assistant", "content": "a", "tool_calls": []},
        ),
        (
            {"role": "assistant", "content": "a", "reasoning": "b"},
            {"role": "assistant", "content": "a", "reasoning_content": "b"},
        ),
        (
            {"role": "assistant", "content": "a", "thinking": "b", "reasoning_content": "c"},
            {"role": "assistant", "content": "a", "reasoning_content": "c"},
        ),
        (
            {"name": "n", "content": "a", "role": "tool", "tool_call_id": 7, "extra": ({"b": ()},)},
            {"name": "n", "content": "a", "role": "tool", "tool_call_id": 7, "extra": [{"b": []}]},
        ),
    ],
)
def test_accepted(given: Any, expected: dict[str, Any]) -> None:
    [checked] = check_messages([given])
    assert checked == expected
    assert list(checked) == list(expected), "in the caller's order"
    assert type(checked["role"]) is str
    assert check_messages([checked]) == [expected], "checking again changes nothing"


def test_copies_are_deep() -> None:
    given = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    [checked] = check_messages((given,))
    checked["tool_calls"][0]["function"]["arguments"]["a"].append("changed")
    assert CALL["function"]["arguments"]["a"] == [1, 2.5, None, True]  # type: ignore[index]


def nested(levels: int) -> Any:
    """Nested lists."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


CIRCLE: dict[str, Any] = {}
CIRCLE["a"] = CIRCLE
NOT_A_CONVERSATION = [
    (None, "messages: expected a list of messages, found None"),
    ("Hi", "messages: expected a list of messages, found str"),
    ({"role": "user", "content": "a"}, "messages: expected a list of messages, found dict"),
    ([], "messages: expected at least one message, found none"),
]
AS_SECOND_MESSAGE: list[tuple[Any, str]] = [
    ("Hi", "messages[1]: expected a dict with role and content, found str"),
    ({}, "messages[1].role: expected one of system, user, assistant, tool, found None"),
    ({"role": "bot", "content": ""}, "messages[1].role: expected one of system, user, assistant, tool, found 'bot'"),
    ({"role": ["user"], "content": ""}, "messages[1].role: expected one of .*, found ['user']"),
    ({"role": "x" * 99, "content": ""}, f"messages[1].role: expected one of .*, found '{'x' * 56}..."),
    ({"role": "user"}, "messages[1].content: expected a str or a list of text parts, found None"),
    ({"role": "tool", "content": None}, "messages[1].content: expected a str or a list of text parts, found None"),
    ({"role": "tool", "content": {"a": 1}}, "messages[1].content: expected a str or a list of text parts, found dict"),
    ({"role": "user", "content": b"a"}, "messages[1].content: expected a str or a list of text parts, found bytes"),
    (
        {"role": "assistant", "content": None},
        "messages[1].content: expected a str or a list of text parts (None only beside tool_calls), found None",
    ),
    ({"role": "assistant", "tool_calls": []}, "messages[1].content: expected a str .*, found None"),
    (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]},
        """messages[1].content[1]: expected {"type": "text", "text": ...}, found a part of type 'image_url'""",
    ),
    ({"role": "user", "content": ["a"]}, 'messages[1].content[0]: expected {"type": "text", "text": ...}, found str'),
    ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text: expected a str, found NoneType"),
    (
        {"role": "user", "content": "ab\ud83d"},
        "messages[1].content: expected Unicode text, found the lone surrogate U+D83D at position 2",
    ),
    (
        {"role": "user", "content": [{"type": "text", "text": "\udc00"}]},
        "messages[1].content[0].text: expected Unicode text, found the lone surrogate U+DC00 at position 0",
    ),
    (
        {"role": "user", "content": "a", "reasoning_content": "b"},
        "messages[1].reasoning_content: expected in assistant messages only, found in a user message",
    ),
    (
        {"role": "assistant", "content": "a", "reasoning": 5},
        "messages[1].reasoning: expected a str, found int",
    ),
    (
        {"role": "user", "content": "a", "tool_calls": [CALL]},
        "messages[1].tool_calls: expected in assistant messages only, found in a user message",
    ),
    ({"role": "user", "content": "a", "date": object()}, "messages[1].date: expected JSON (.*), found object"),
    ({"role": "user", "content": "a", 5: "b"}, "messages[1]: key 5: expected a str, found int"),
    ({"role": "user", "content": "a", "x": CIRCLE}, f"messages[1].x.a.*: expected at most {MAX_DEPTH} levels"),
    ({"role": "user", "content": "a", "x": nested(MAX_DEPTH)}, f"messages[1].x[0].*: expected at most {MAX_DEPTH}"),
]
AS_TOOL_CALLS: list[tuple[Any, str]] = [
    ("f()", ": expected a list of calls, found str"),
    (CALL, ": expected a list of calls, found dict"),
    ([CALL, "f()"], "[1]: expected a dict with name and arguments, found str"),
    ([{"function": "f"}], "[0].function: expected a dict with name and arguments, found str"),
    ([{}], "[0].name: expected the function's name, found None"),
    ([{"function": {"name": ""}}], "[0].function.name: expected the function's name, found ''"),
    ([{"name": "f"}], "[0].arguments: expected a dict or its JSON text, found None"),
    ([{"name": "f", "arguments": [1]}], "[0].arguments: expected a dict or its JSON text, found list"),
    (
        [{"name": "f", "arguments": {"a": {"b": float("nan")}}}],
        "[0].arguments.a.b: expected a finite number, found nan",
    ),
    ([{"name": "f", "arguments": {"a": {1, 2}}}], "[0].arguments.a: expected JSON (.*), found set"),
    ([{"name": "f", "arguments": {1: 2}}], "[0].arguments: key 1: expected a str, found int"),
    ([{"name": "f", "arguments": "\ud800"}], "[0].arguments: expected Unicode text, found the lone surrogate U+D800"),
    ([{"name": "f", "arguments": {"\ud800": 1}}], "[0].arguments: key '\\ud800': expected Unicode text"),
]
AS_TOOLS: list[tuple[Any, str]] = [
    ("f", "tools: expected a list of JSON schemas, found str"),
    ({"name": "f"}, "tools: expected a list of JSON schemas, found dict"),
    ([{"name": "f"}, print], "tools[1]: expected a JSON schema (a dict), found builtin_function_or_method"),
    ([{"type": "function"}], "tools[0].name: expected the function's name, found None"),
    ([{"type": "function", "function": None}], "tools[0].function: expected a dict, found None"),
    ([{"function": {"name": 3}}], "tools[0].function.name: expected the function's name, found 3"),
    ([{"name": "f", "parameters": {"x": b""}}], "tools[0].parameters.x: expected JSON (.*), found bytes"),
    ([{"name": "f", "parameters": nested(MAX_DEPTH)}], f"tools[0].parameters[0].*: expected at most {MAX_DEPTH}"),
]


def refuses(message: str) -> Any:
    """Expects a MessageError that begins with this text, where `.*` stands for anything."""
    return pytest.raises(MessageError, match="^" + re.escape(message).replace(r"\.\*", ".*"))


@pytest.mark.parametrize(("messages", "message"), NOT_A_CONVERSATION)
def test_not_a_conversation(messages: Any, message: str) -> None:
    with refuses(message):
        check_messages(messages)


@pytest.mark.parametrize(("given", "message"), AS_SECOND_MESSAGE, ids=[message for _, message in AS_SECOND_MESSAGE])
def test_refused_messages(given: Any, message: str) -> None:
    with refuses(message):
        check_messages([{"role": "user", "content": "Hi"}, given])


@pytest.mark.parametrize(("calls", "message"), AS_TOOL_CALLS, ids=[message for _, message in AS_TOOL_CALLS])
def test_refused_tool_calls(calls: Any, message: str) -> None:
    with refuses(f"messages[0].tool_calls{message}"):
        check_messages([{"role": "assistant", "content": "a", "tool_calls": calls}])


@pytest.mark.parametrize(("tools", "message"), AS_TOOLS, ids=[message for _, message in AS_TOOLS])
def test_refused_tools(tools: Any, message: str) -> None:
    with refuses(message):
        check_tools(tools)


def test_accepted_tools() -> None:
    assert check_tools(None) is None
    assert check_tools([]) == []
    tools = ({"name": "f", "strict": True}, {"type": "function", "function": {"name": "g", "parameters": {"a": (1,)}}})
    assert check_tools(tools) == [tools[0], {"type": "function", "function": {"name": "g", "parameters": {"a": [1]}}}]


def test_deepest_accepted_nesting() -> None:
    [tool] = check_tools([{"name": "f", "parameters": nested(MAX_DEPTH - 1)}]) or []
    assert tool == {"name": "f", "parameters": nested(MAX_DEPTH - 1)}
