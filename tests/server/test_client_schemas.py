"""Schemas of clients: which are refused, which are loosened and named, and that no other client waits for them."""

import json
import threading
from urllib.parse import quote

import pytest
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.generation import grammar

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
POINT = {"type": "object", "properties": {"x": {"type": "integer", "maximum": 99}}, "required": ["x"]}
EMBEDDED = {"$defs": {"P": POINT}, "properties": {"p": {"$ref": "#/$defs/P"}}, "required": ["p"]}
IMPERFECT = [
    {"properties": {"a": {"type": "string", "required": True}}},
    {"properties": {"a": {}}, "required": None},
    {"type": "object", "properties": None},
    {"properties": {"a": {"type": "any"}}},
    {"properties": {"a": {"type": "number", "minimum": 0, "exclusiveMinimum": True}}},
    {"properties": {"a": {"type": "string", "pattern": r"^\p{L}+$"}}},
    {"properties": {"a": {"type": "string", "format": "no-such-format"}}},
    {"properties": {"a": {"type": "array", "uniqueItems": True}}},
]
WRONG = [
    {"properties": {"a": {"type": "text"}}},
    {"properties": {"a": {"not": {"type": "null"}}}},
    {"$ref": "#/nowhere"},
]


def tool(name, parameters, **more):
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def wanted(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize("how", ["strict", "required", "named"])
def test_references_in_parameters(server, how):
    tools = [tool("f", EMBEDDED, strict=how == "strict")]
    choice = {"strict": "auto", "required": "required", "named": {"type": "function", "function": {"name": "f"}}}[how]
    body = {"messages": QUESTION, "tools": tools, "tool_choice": choice, "reasoning_effort": "none", "max_tokens": 60}
    calls = server.ok(CHAT, **body, parallel_tool_calls=False)["choices"][0]["message"].get("tool_calls", [])
    flat = {"type": "function", "name": "f", "parameters": EMBEDDED, "strict": how == "strict"}
    named = {"type": "function", "name": "f"} if how == "named" else choice
    output = server.ok(RESPONSES, input="1", tools=[flat], tool_choice=named, max_output_tokens=60)["output"]
    calls += [{"function": item} for item in output if item["type"] == "function_call"]
    assert (how == "strict") or calls
    for call in calls:
        assert json.loads(call["function"]["arguments"])["p"]["x"] <= 99


@pytest.mark.parametrize("parameters", [*IMPERFECT, *WRONG], ids=str)
@pytest.mark.parametrize("strict", [False, True])
def test_one_imperfect_tool_beside_good_ones(server, parameters, strict):
    tools = [tool("good", POINT, strict=True), tool("other", parameters, strict=strict)]
    free = server.chat(tools=[tool("good", POINT), tool("other", {"type": "object"})], seed=1, max_tokens=4)
    told = server.chat(tools=tools, seed=1, max_tokens=4)
    assert told["choices"][0]["finish_reason"] == free["choices"][0]["finish_reason"]
    server.chat(tools=tools, tool_choice={"type": "function", "function": {"name": "good"}}, max_tokens=4)


@pytest.mark.parametrize("parameters", WRONG, ids=str)
def test_a_tool_that_has_to_be_called_is_refused_with_the_place(server, parameters):
    body = {"messages": QUESTION, "tools": [tool("f", parameters)], "tool_choice": "required"}
    message = server.refused(CHAT, body, 400)["message"]
    assert message.startswith("tools[0].function.parameters: /")


BAD = {"properties": {"a": {"required": 7}}}
NAMED = {"type": "function", "name": "third"}


def three(make):
    return [make("first", POINT), make("second", POINT), make("third", BAD)]


def flat(name, parameters):
    return {"type": "function", "name": name, "parameters": parameters}


def function(name, parameters):
    return {"name": name, "parameters": parameters}


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        (CHAT, {"tools": three(tool), "tool_choice": "required"}, "tools[2].function.parameters"),
        (
            CHAT,
            {"tools": three(tool), "tool_choice": {"type": "function", "function": {"name": "third"}}},
            "tools[2].function.parameters",
        ),
        (
            CHAT,
            {
                "tools": three(tool),
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": three(tool)[1:]},
                },
            },
            "tools[2].function.parameters",
        ),
        (CHAT, {"functions": three(function), "function_call": {"name": "third"}}, "functions[2].parameters"),
        (RESPONSES, {"tools": three(flat), "tool_choice": "required"}, "tools[2].parameters"),
        (RESPONSES, {"tools": [{"type": "web_search"}, *three(flat)[1:]], "tool_choice": NAMED}, "tools[2].parameters"),
        (CHAT, {"response_format": wanted(BAD)}, "response_format.json_schema.schema"),
        (CHAT, {"response_format": wanted(BAD), "tools": [tool("f", POINT)]}, "response_format.json_schema.schema"),
        (CHAT, {"guided_json": BAD}, "guided_json"),
        (CHAT, {"structured_outputs": {"json": BAD}}, "structured_outputs.json"),
        (CHAT, {"response_format": {"type": "json_object", "schema": BAD}}, "response_format.schema"),
        (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "x", "schema": BAD}}}, "text.format.schema"),
        (RESPONSES, {"format": BAD}, "format"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_schema_is_named_as_the_client_wrote_it(server, path, body, place):
    question = {"messages": QUESTION} if path == CHAT else {"input": "1"}
    error = server.refused(path, {**question, **body}, 400)
    assert error["message"] == f"{place}: /properties/a/required: expected a list of names, found 7"
    assert error["param"] == place


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ([], "expected a JSON schema (an object), found a list"),
        ({"enum": ["x" * 70000]}, "expected at most 65536 bytes, found 70014"),
        (
            {"properties": {"a": {"type": "integer", "minimum": 3, "maximum": 2}}, "required": ["a"]},
            "no value follows it",
        ),
    ],
    ids=["list", "large", "impossible"],
)
def test_other_faults_of_a_tool_are_named_too(server, parameters, problem):
    for path, make, where in (
        (CHAT, tool, "tools[1].function.parameters"), (RESPONSES, flat, "tools[1].parameters"),
    ):  # fmt: skip
        question = {"messages": QUESTION} if path == CHAT else {"input": "1"}
        tools = [make("a", POINT), make("b", parameters)]
        error = server.refused(path, {**question, "tools": tools, "tool_choice": "required"}, 400)
        assert error["message"].startswith(f"{where}: {problem}")
        assert error["param"] == where
    functions = [function("a", POINT), function("b", parameters)]
    body = {"messages": QUESTION, "functions": functions, "function_call": {"name": "b"}}
    assert server.refused(CHAT, body, 400)["message"].startswith(f"functions[1].parameters: {problem}")


def test_what_the_server_adds_to_a_body_no_client_can_send(server):
    reply = server.post(CHAT, {"messages": QUESTION, "calls_as_function": True, "max_tokens": 1})
    assert reply.headers["x-qwen3cpu-ignored"] == "calls_as_function"


def test_what_is_not_enforced_is_named(server, serve, tmp_path):
    """Named in a header before the answer. Errors of the answer are listed beside it."""
    follows = script(["\n", "7"])
    server = serve(
        qwen3cpu.load(write_scripted(tmp_path, follows, max_position_embeddings=4096), quant="f32", threads=1)
    )
    schema = {"oneOf": [{"const": 7}, {"const": 7.0}]}
    body = {"messages": QUESTION, "response_format": wanted(schema), "reasoning_effort": "none", "temperature": 0}
    for stream in (False, True):
        reply = server.post(CHAT, {**body, "stream": stream})
        assert reply.status_code == 200
        assert reply.headers["x-schema-unenforced"] == "/oneOf"
        assert '"schema_errors":["7 is valid under each of' in reply.text
    right = server.post(CHAT, {**body, "response_format": wanted({"const": 7})})
    assert "schema_errors" not in right.text
    assert "x-schema-unenforced" not in right.headers
    form = {"type": "json_schema", "name": "x", "schema": schema}
    reply = server.post(
        RESPONSES, {"input": "1", "text": {"format": form}, "reasoning": {"effort": "none"}, "temperature": 0}
    )
    assert "7 is valid under each of" in reply.json()["schema_errors"][0]


@pytest.mark.parametrize("name", ["x y", " ", "", "a, b", "é", "\r\nx: y", "\ud800"])
def test_a_header_names_places_with_any_characters(server, name):
    loosened = {"type": "string", "format": "no-such-format"}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "patternProperties": {name: loosened}}
    # A lone surrogate arrives as an escape.
    body = json.dumps({"messages": QUESTION, "response_format": wanted(schema), "max_tokens": 1})
    reply = server.http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 200, reply.text
    place = quote(f"/patternProperties/{name}/format", "/:", errors="replace")
    assert place in reply.headers["x-schema-unenforced"].split(", ")


def test_nesting(server):
    schema = {"type": "integer"}
    for _ in range(600):
        schema = {"not": schema}
    for body in ({"response_format": wanted(schema)}, {"tools": [tool("f", schema)], "tool_choice": "required"}):
        assert "nesting" in server.refused(CHAT, {"messages": QUESTION, **body}, 400)["message"]


def test_nobody_waits_for_the_schemas_of_others(server, monkeypatch):
    """While one is compiled (here it does not end), other clients are answered; none is compiled by the scheduler."""
    begun, go_on, threads = threading.Event(), threading.Event(), []
    real = grammar._compiled

    def compiled(*arguments):
        threads.append(threading.current_thread().name)
        begun.set()
        assert go_on.wait(60)
        return real(*arguments)

    monkeypatch.setattr(grammar, "_compiled", compiled)
    replies = []
    slow = [
        threading.Thread(
            target=lambda i=i: replies.append(
                server.chat(response_format=wanted({"const": f"slow {i}"}), max_tokens=30)
            )
        )
        for i in range(12)
    ]
    for thread in slow:
        thread.start()
    try:
        assert begun.wait(60)
        server.chat(max_tokens=1)
        server.chat(max_tokens=1, tools=[tool("f", POINT)])
        assert replies == []
    finally:
        go_on.set()
    for thread in slow:
        thread.join()
    assert len(replies) == 12
    assert len(threads) == 12
    assert all(name.startswith("qwen3cpu-grammar") for name in threads)


def test_the_time_limit_holds_for_schemas(serve, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(grammar, "_compiled", lambda *arguments: go_on.wait(60) and "never")
    server = serve(qwen3cpu.load("tiny", threads=1), timeout=0.2)
    try:
        error = server.refused(CHAT, {"messages": QUESTION, "response_format": wanted({"const": 1})}, 408)
        assert "longer than 0.2 seconds" in error["message"]
    finally:
        go_on.set()
