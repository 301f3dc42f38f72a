"""Calls of tools: which are valid, which are malformed and why, and that each comes as soon as it is complete."""

import copy
import json

import checkpoints
import pytest
from dictation import dictate

import qwen3cpu
from qwen3cpu.text.tool_calls import CallReader, MalformedCall, ToolCall, argument_validators

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"], "minimum": 1}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CALL = '{"name": "weather", "arguments": {"city": "Zürich", "days": 2}}'


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=4096).folder
    return qwen3cpu.load(folder, quant="f32", threads=1)


def read(written, *tools):
    read = CallReader(argument_validators(tools or [WEATHER])).read(written)
    if isinstance(read, MalformedCall):
        return read
    (call,) = read
    return call


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        (CALL, {"city": "Zürich", "days": 2}),
        ('{"arguments": {"city": ""}, "name": "weather", "id": 7}', {"city": ""}),
        ('{"name": "weather", "arguments": "{\\"city\\": \\"\\u6771\\"}"}', {"city": "東"}),
        ('{"name":"weather",\n "arguments":{"city":"a\\nb","days":null}}', {"city": "a\nb", "days": None}),
        # Calls that other parsers recover.
        ('{"name": "weather", "parameters": {"city": "a"}}', {"city": "a"}),
        ('{"name": "weather", "parameters": {"city": "a"}, "arguments": {"city": "a"}}', {"city": "a"}),
        ('{"type": "function", "function": {"name": "weather", "arguments": {"city": "a"}}}', {"city": "a"}),
        ('{"name": "weather", "arguments": {"city": "a\n\tb"}}', {"city": "a\n\tb"}),
        (f"```json\n{CALL}\n```", {"city": "Zürich", "days": 2}),
        (f"```\n{CALL}", {"city": "Zürich", "days": 2}),
        ('{"name": "weather", "arguments": {"city": "a", "days": 2,},}', {"city": "a", "days": 2}),
        (
            "{'name': 'weather', 'arguments': {'city': 'say \"a\", it\\'s, \\n', 'days': None}}",
            {"city": 'say "a", it\'s, \n', "days": None},
        ),
        ('{name: "weather", arguments: {city: "True, a: b"}}', {"city": "True, a: b"}),
        ('{"name": "weather", "arguments": "{\'city\': \'a\'}"}', {"city": "a"}),
        (f"[{CALL}]", {"city": "Zürich", "days": 2}),
        (
            '{"name": "weather", "arguments": {"city": "<tool_call>x</tool_call>"}}',
            {"city": "<tool_call>x</tool_call>"},
        ),
    ],
)
def test_calls(written, arguments):
    call = read(written)
    assert call == ToolCall("weather", arguments)
    assert call.id.startswith("call_")
    assert call.id != read(written).id


def test_without_tools_any_call_is_one():
    reader = CallReader(None)
    assert reader.read('{"name": "f"}') == [ToolCall("f", {})]
    assert reader.read('{"name": "g", "arguments": {"x": [1, {"y": null}]}}') == [
        ToolCall("g", {"x": [1, {"y": None}]})
    ]


@pytest.mark.parametrize("between", ["", "\n", ", ", " ,\n"])
@pytest.mark.parametrize(("opens", "closes"), [("", ""), ("[", "]"), ("```json\n", "\n```")])
def test_several_calls_in_one_block(between, opens, closes):
    if opens == "[" and "," not in between:
        between = ","
    written = opens + '{"name": "f", "arguments": {"a": 1}}' + between + '{"name": "g"}' + closes
    assert CallReader(None).read(written) == [ToolCall("f", {"a": 1}), ToolCall("g", {})]
    names = [{"name": "f"}]
    malformed = CallReader(argument_validators(names)).read(written)
    assert malformed == MalformedCall(
        f"<tool_call>\n{written}\n</tool_call>", "call 2: name: expected one of the tools (f), found 'g'"
    ), "all or none"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("weather('Zürich')", "the call: expected JSON, found a mistake: Expecting value"),
        (CALL[:-2], "the call: expected JSON, found a mistake: Expecting"),
        ("[" * 100_000, "the call: expected"),
        ("[1]", "the call: expected a JSON object, found int"),
        ("[]", "the call: expected a JSON object, found an empty list"),
        ("", "the call: expected JSON, found a mistake"),
        (CALL + " and more", "the call: expected JSON, found a mistake: Extra data"),
        (CALL + "}", "the call: expected JSON, found a mistake: Extra data"),
        (
            '{"name": "weather", "args": {"city": "a"}}',
            "arguments: expected them under 'arguments', found 'args' instead",
        ),
        ('{"name": "weather", "city": "a"}', "arguments: expected them under 'arguments', found 'city' instead"),
        (
            '{"name": "weather", "arguments": {"city": "a"}, "parameters": {}}',
            "arguments: expected them once, found both",
        ),
        ('{"name": "weather", "arguments": {"city": "a", "city": "b"}}', "the name 'city' appears twice"),
        ('{"name": "weather", "arguments": "[{\\"city\\": \\"a\\"}]"}', "arguments: expected a JSON object, found ["),
        ("{'name': 'weather', 'arguments': {'city': 'Val d'Isere'}}", "the call: expected JSON, found a mistake"),
        ("{'name': 'weather', 'arguments': {'city': 'a' 'b'}}", "the call: expected JSON, found a mistake"),
        ('{"name": "weather", "arguments": {"city": "a", "days": 1_0}}', "the call: expected JSON, found a mistake"),
        ('{"name": "weather", "arguments": {"city": "a",, "days": 1}}', "the call: expected JSON, found a mistake"),
        ('{"arguments": {}}', "name: expected the function's name, found None"),
        ('{"name": ["weather"]}', "name: expected the function's name, found ['weather']"),
        ('{"name": "time", "arguments": {}}', "name: expected one of the tools (weather), found 'time'"),
        ('{"name": "weather", "arguments": [1]}', "arguments: expected a JSON object, found [1]"),
        ('{"name": "weather", "arguments": "Zürich"}', "arguments: expected JSON, found a mistake"),
        ('{"name": "weather", "arguments": {}}', "arguments: 'city' is a required property"),
        ('{"name": "weather", "arguments": {"city": 3}}', "arguments.city: 3 is not of type 'string'"),
        ('{"name": "weather", "arguments": {"city": "a", "days": 0}}', "arguments.days: 0 is less than the minimum"),
        ('{"name": "weather", "arguments": {"city": "a", "days": NaN}}', "found a mistake: NaN is not JSON"),
        ('{"name": "weather", "arguments": {"city": "a", "when": 1}}', "arguments: Additional properties are not"),
        ('{"name": "weather", "arguments": {"city": "\\ud800"}}', "the call.arguments.city: "),
        ('{"name": "weather", "arguments": {"city": ' + "[" * 90 + "]" * 90 + "}}", "levels of nesting"),
    ],
    ids=lambda value: value[:40],
)
def test_malformed_calls(written, reason):
    call = read(written)
    assert isinstance(call, MalformedCall)
    assert reason in call.reason
    assert len(call.reason) <= 300
    assert call.text == f"<tool_call>\n{written}\n</tool_call>"


@pytest.mark.parametrize(
    ("output", "text", "calls", "malformed"),
    [
        (f"I look.\n<tool_call>\n{CALL}", "I look.", 1, 0),
        (f"<tool_call>\n{CALL}{CALL}\n</tool_call>", "", 2, 0),
        (f"<tool_call>\n{CALL}\n<tool_call>\n{CALL}\n</tool_call>", "", 2, 0),
        (f"<tool_call>\n{CALL}\n<tool_call>\n", "", 1, 0),
        (f"<tool_call>\n{CALL.replace('Zürich', '</tool_call>')}\n</tool_call>\nSo.", "So.", 1, 0),
        (f"a<tool_call>\n{CALL[:-3]}", f"a<tool_call>\n{CALL[:-3]}", 0, 1),
    ],
)
def test_calls_that_are_recovered_in_answers(monkeypatch, model, output, text, calls, malformed):
    dictate(monkeypatch, model, output)
    chunks = list(model.stream(MESSAGES, tools=[WEATHER], seed=1, thinking=False))
    result = chunks[-1].result
    assert (result.text, len(result.tool_calls), len(result.malformed_calls)) == (text, calls, malformed)
    assert tuple(call for chunk in chunks for call in chunk.tool_calls) == result.tool_calls
    assert tuple(call for chunk in chunks for call in chunk.malformed_calls) == result.malformed_calls
    assert "".join(chunk.text for chunk in chunks) == text


def test_nothing_is_fetched_for_a_schema():
    tool = {"name": "f", "parameters": {"$ref": "http://127.0.0.1:9/schema.json"}}
    call = read('{"name": "f", "arguments": {}}', tool)
    assert "cannot be checked" in call.reason


@pytest.mark.parametrize(
    ("tool", "place"),
    [
        ({"name": "f", "parameters": []}, r"tools\[1\].parameters"),
        ({"type": "function", "function": {"name": "f", "parameters": []}}, r"tools\[1\].function.parameters"),
    ],
)
def test_schemas_are_checked_when_they_are_given(model, tool, place):
    with pytest.raises(qwen3cpu.ArgumentError, match=rf"^{place}: expected a JSON schema \(an object\), found \[\]$"):
        model.generate([{"role": "user", "content": "x"}], tools=[WEATHER, tool])


def test_two_tools_of_one_name(model):
    with pytest.raises(qwen3cpu.ArgumentError, match="found 'weather' twice"):
        model.generate([{"role": "user", "content": "x"}], tools=[WEATHER, WEATHER])


MESSAGES = [{"role": "user", "content": "How is the weather?"}]


def test_a_call_comes_when_it_is_complete(monkeypatch, model):
    output = f"<think>\nhm\n</think>\n\nI look.\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\nweather\n</tool_call>"
    dictate(monkeypatch, model, output)
    chunks = list(model.stream(MESSAGES, tools=[WEATHER], seed=1, speculate=False))
    result = chunks[-1].result
    assert result.reasoning == "hm"
    assert result.text == "I look.<tool_call>\nweather\n</tool_call>"
    assert result.tool_calls == (ToolCall("weather", {"city": "Zürich", "days": 2}),)
    (malformed,) = result.malformed_calls
    assert "expected JSON" in malformed.reason
    assert malformed.text in result.text
    closing = [i for i, token in enumerate(result.token_ids) if token == model.tokenizer.end_tool_call]
    assert [i for i, chunk in enumerate(chunks) if chunk.tool_call] == closing[:1]
    assert [i for i, chunk in enumerate(chunks) if chunk.malformed_call] == closing[1:]
    assert "".join(chunk.text for chunk in chunks) == result.text
    message = result.to_message()
    assert message["content"] == result.text
    assert message["reasoning_content"] == "hm"
    assert message["tool_calls"][0]["id"] == result.tool_calls[0].id
    assert CALL in model.render([*MESSAGES, message])
    assert json.loads(json.dumps(result.to_dict()))["tool_calls"][0]["arguments"] == {"city": "Zürich", "days": 2}


def test_a_call_without_a_tool_is_text(monkeypatch, model):
    dictate(monkeypatch, model, f"<tool_call>\n{CALL}\n</tool_call>")
    result = model.generate(MESSAGES, tools=[], seed=1)
    assert result.tool_calls == ()
    assert "expected one of the tools (none)" in result.malformed_calls[0].reason


def test_stop_strings_do_not_look_into_calls(monkeypatch, model):
    dictate(monkeypatch, model, f"<tool_call>\n{CALL}\n</tool_call>\nZürich, yes")
    result = model.generate(MESSAGES, tools=[WEATHER], seed=1, stop="Zürich")
    assert (result.text, result.stopped_by, len(result.tool_calls)) == ("", "stop_string", 1)


def test_a_conversation_keeps_its_calls(monkeypatch, model):
    tools = [copy.deepcopy(WEATHER)]
    dictate(monkeypatch, model, f"<tool_call>\n{CALL}\n</tool_call>", "Rain.")
    chat = model.chat(tools=tools)
    first = chat.send("How is the weather?")
    call = first.tool_calls[0]
    assert chat.messages[1] == {"role": "assistant", "content": "", "tool_calls": [call.to_message()]}
    answer = chat.send([{"role": "tool", "content": "rain", "tool_call_id": call.id}])
    assert answer.text == "Rain."
    assert answer.usage.cached_tokens >= first.usage.prompt_tokens
    assert [message["role"] for message in chat.messages] == ["user", "assistant", "tool", "assistant"]
