"""Tools and schemas of chat completions."""

import json

import pydantic
import pytest
from running import Running
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.generation.grammar import MOST_CALLS

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]


class Arguments(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    a: int = pydantic.Field(ge=0, le=99)
    unit: str = pydantic.Field(pattern="^(m|km)$")


def tool(name, **more):
    return {"type": "function", "function": {"name": name, "parameters": Arguments.model_json_schema(), **more}}


TOOLS = [tool("walk"), tool("drive")]


def calls_of(choice):
    return [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("effort", ["none", "high"])
def test_a_call_that_is_required(server, seed, effort):
    body = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    choice = server.chat(seed=seed, reasoning_effort=effort, **body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert ("reasoning_content" in choice["message"]) == (effort == "high")
    ((name, arguments),) = calls_of(choice)
    assert name in ("walk", "drive")
    Arguments.model_validate_json(arguments)


def test_several_calls(server):
    """The model inside the package does not know tools, and continues up to its limit."""
    choice = server.chat(seed=1, tools=TOOLS, tool_choice="required", reasoning_effort="none")["choices"][0]
    calls = calls_of(choice)
    assert 1 < len(calls) <= MOST_CALLS
    for _, arguments in calls:
        Arguments.model_validate_json(arguments)
    assert len({call["id"] for call in choice["message"]["tool_calls"]}) == len(calls)


@pytest.mark.parametrize("name", ["walk", "drive"])
def test_a_call_of_one_function(server, name):
    choice = server.chat(seed=1, tools=TOOLS, tool_choice={"type": "function", "function": {"name": name}})["choices"][
        0
    ]
    ((called, arguments),) = calls_of(choice)
    assert called == name
    Arguments.model_validate_json(arguments)


def test_a_streamed_call_is_the_whole_one(server):
    body = {"messages": QUESTION, "seed": 2, "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    whole = server.ok(CHAT, **body)["choices"][0]
    events, _ = server.events(CHAT, **body)
    deltas = [event["choices"][0]["delta"] for event in events]
    (pieces,) = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    ((name, arguments),) = calls_of(whole)
    assert (pieces[0]["index"], pieces[0]["function"]) == (0, {"name": name, "arguments": arguments})
    assert pieces[0]["id"].startswith("call_")
    assert not any(delta.get("content") for delta in deltas)
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_tools_are_shown_to_the_model_unless_they_may_not_be_called(server, tiny):
    plain = server.chat(seed=1)
    told = server.chat(seed=1, tools=TOOLS)
    shown = [{"type": "function", "function": each["function"]} for each in TOOLS]
    assert told["usage"]["prompt_tokens"] == tiny.generate(QUESTION, tools=shown, seed=1).usage.prompt_tokens
    assert server.chat(seed=1, tools=TOOLS, tool_choice="none")["choices"] == plain["choices"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tool_choice": "none"},
        {"tool_choice": "required", "parallel_tool_calls": False},
        {"tool_choice": "drive"},
        {"tool_choice": {"type": "function", "function": {"name": "drive"}}},
        {"parallel_tool_calls": False},
    ],
    ids=str,
)
def test_choices_mean_the_same_in_python(server, tiny, options):
    result = tiny.generate(QUESTION, tools=TOOLS, seed=3, **options)
    choice = options.get("tool_choice")
    if choice == "drive":
        options = {"tool_choice": {"type": "function", "function": {"name": choice}}}
    reply = server.chat(seed=3, tools=TOOLS, **options)
    (said,) = reply["choices"]
    assert (said["message"]["content"] or "") == result.text
    called = calls_of(said) if "tool_calls" in said["message"] else []
    assert [(name, json.loads(arguments)) for name, arguments in called] == [
        (call.name, call.arguments) for call in result.tool_calls
    ]
    assert bool(called) is (choice not in (None, "none"))
    assert reply["usage"]["prompt_tokens"] == result.usage.prompt_tokens


def test_none_bans_the_token(server, serve, tmp_path):
    """A scripted model always writes a call, unless the token that begins it is banned."""
    folder = write_scripted(
        tmp_path, script(["\n", "<tool_call>", "{", "}", "</tool_call>"]), max_position_embeddings=4096
    )
    server = serve(qwen3cpu.load(folder, quant="f32", threads=1))
    body = {"messages": QUESTION, "temperature": 0, "tools": TOOLS, "max_tokens": 4}
    assert "<tool_call>" in server.ok(CHAT, **body)["choices"][0]["message"]["content"], "{} does not call a function"
    content = server.ok(CHAT, **body, tool_choice="none")["choices"][0]["message"]["content"]
    assert "<tool_call>" not in content


@pytest.mark.parametrize("seed", range(5))
def test_strict_functions_and_single_calls_leave_text_free(server, seed):
    free = server.chat(seed=seed, tools=TOOLS)["choices"]
    assert server.chat(seed=seed, tools=TOOLS, parallel_tool_calls=False)["choices"] == free
    strict = [tool("walk", strict=True), tool("drive", strict=True)]
    assert server.chat(seed=seed, tools=strict)["choices"] == free


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A server of a model whose chat template knows neither tools nor calls."""
    template = "{% for message in messages %}{{ message.role + ': ' + message.content }}\n{% endfor %}"
    folder = write_scripted(tmp_path_factory.mktemp("plain"), script(["a"]), chat_template=template)
    running = Running(qwen3cpu.load(folder, quant="f32", threads=1), model_name="plain")
    yield running
    running.close()


CALL = {"type": "function", "id": "c", "function": {"name": "walk", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT, {"messages": QUESTION, "tools": TOOLS}, "tools"),
        (CHAT, {"messages": QUESTION, "functions": [TOOLS[0]["function"]]}, "functions"),
        ("/v1/responses", {"input": "a", "tools": [{"type": "function", "name": "walk"}]}, "tools"),
        ("/v1/messages", {"messages": QUESTION, "tools": [{"name": "walk", "input_schema": {}}]}, "tools"),
        ("/api/chat", {"messages": QUESTION, "tools": TOOLS}, "tools"),
        ("/apply-template", {"messages": QUESTION, "tools": TOOLS}, "tools"),
        (CHAT, {"messages": [*QUESTION, {"role": "assistant", "tool_calls": [CALL]}]}, "messages[1].tool_calls[0]"),
        (
            "/v1/responses",
            {
                "instructions": "a",
                "input": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b"},
                    {"type": "function_call", "call_id": "c", "name": "walk", "arguments": "{}"},
                ],
            },
            "input[2]",
        ),
        (
            "/v1/messages",
            {
                "messages": [
                    *QUESTION,
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "walk", "input": {}}]},
                    {"role": "user", "content": "a"},
                ]
            },
            "messages[1].content[0]",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_model_without_tools(plain, path, body, field):
    """Tools and calls that the model would not see are refused."""
    error = plain.refused(path, {"max_tokens": 3, **body} if path != "/apply-template" else body, 400)
    message = error if isinstance(error, str) else error["message"]
    expected = "expected no call, because" if "[" in field else "expected a model that can call functions, found plain"
    assert message.startswith(f"{field}: {expected}")
    assert plain.ok(CHAT, messages=QUESTION, tools=TOOLS, tool_choice="none", max_tokens=1)


def test_a_conversation_with_calls(server, tiny):
    messages = [
        *QUESTION,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "walk", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    reply = server.ok(CHAT, messages=messages, tools=TOOLS, seed=1)
    shown = [{"type": "function", "function": each["function"]} for each in TOOLS]
    assert reply["choices"][0]["message"]["content"] == tiny.generate(messages, tools=shown, seed=1).text


@pytest.mark.parametrize("seed", range(4))
def test_a_json_schema(server, tiny, seed):
    wanted = {"type": "json_schema", "json_schema": {"name": "distance", "schema": Arguments.model_json_schema()}}
    choice = server.chat(seed=seed, response_format=wanted)["choices"][0]
    Arguments.model_validate_json(choice["message"]["content"])
    alone = tiny.generate("What is 17 + 25?", seed=seed, schema=Arguments)
    assert choice["message"]["content"] == alone.text
    assert choice["message"]["reasoning_content"] == alone.reasoning


def test_a_json_object(server):
    choice = server.chat(seed=1, response_format={"type": "json_object"}, max_tokens=400)["choices"][0]
    assert choice["message"]["content"].startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_a_schema_beside_tools(server):
    """The answer follows the schema, or is a call."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": Arguments.model_json_schema()}}
    choice = server.chat(seed=1, response_format=wanted, tools=TOOLS, max_tokens=1000)["choices"][0]
    if choice["finish_reason"] == "tool_calls":
        assert calls_of(choice)
    else:
        Arguments.model_validate_json(choice["message"]["content"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tool_choice": "required"}, "there are no tools"),
        ({"tool_choice": "sometimes"}, "required, or an object that names a function, found 'sometimes'"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "fly"}}}, "found 'fly'"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "expected names of the tools, found none"),
        ({"tools": [tool("a", parameters={"type": "bogus"})]}, "tools[0].function.parameters.type: expected 'object'"),
        ({"tools": [tool("a", strict="x")]}, "tools[0].function.strict: expected true or false, found a string"),
        ({"tools": [tool("a", description=5)]}, "tools[0].function.description: expected a string, found a number"),
        ({"tools": [tool("a b")]}, "tools[0].function.name: expected at most 128 letters"),
        ({"tools": [tool("a", parameters=[])]}, "tools[0].function.parameters: expected a JSON schema"),
        ({"tools": [tool("a", parameters={"enum": ["x" * 70000]})]}, "expected at most 65536 bytes"),
        ({"tools": [tool(f"f{i}", description="x" * 60000) for i in range(5)]}, "at most 262144 bytes together"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]: expected a tool of type function, found type 'web_search'"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "expected json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "foo"}}}}, "foo"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 70000]}}}},
            "65536 bytes",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_requests(server, change, words):
    error = server.refused(CHAT, {"messages": QUESTION, **change}, 400)
    assert words in error["message"]
