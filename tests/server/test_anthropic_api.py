"""Anthropic's Messages API over plain HTTP: forms of bodies, events and errors, and the requests of Claude Code."""

import json
import threading

import pytest

MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
TEXT = "What is 17 + 25?"
QUESTION = [{"role": "user", "content": TEXT}]
SCHEMA = {"type": "object", "properties": {"fast": {"type": "boolean"}}, "required": ["fast"]}
TOOL = {"name": "walk", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "walk", "input": {"fast": True}}


def message(server, **body):
    """An answer in one piece."""
    return server.ok(MESSAGES, **{"messages": QUESTION, "max_tokens": 500, "seed": 1, **body})


def events(server, **body):
    """The events of a streamed answer."""
    response = server.post(MESSAGES, {"messages": QUESTION, "max_tokens": 500, "seed": 1, "stream": True, **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for event in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_fields_of_an_answer(server):
    found = message(server, thinking={"type": "enabled", "budget_tokens": 100})
    assert list(found) == [
        *("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage", "seed"),
    ]
    assert [list(block) for block in found["content"]] == [["type", "thinking", "signature"], ["type", "text"]]
    assert found["seed"] == 1
    assert found["id"].startswith("msg_")
    again = message(server)
    assert again["usage"]["input_tokens"] + again["usage"]["cache_read_input_tokens"] == server.ok(
        COUNT, messages=QUESTION
    ).pop("input_tokens")


def test_a_stream_tells_what_a_whole_answer_holds(server):
    body = {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    body["thinking"] = {"type": "adaptive"}
    whole, found = message(server, **body), events(server, **body)
    blocks = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    for event in found:
        if event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            if delta["type"] == "input_json_delta":
                assert block["input"] == {}
                block["input"] = json.loads(delta["partial_json"])
            else:
                name = delta["type"].removesuffix("_delta")
                block[name] += delta[name]
    for block in (*blocks, *whole["content"]):
        block.pop("id", None)
    assert blocks == whole["content"]
    assert found[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert found[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_pings_while_nothing_comes(serve, tiny):
    server = serve(tiny, keep_alive=0.02)
    gate, advance = threading.Event(), server.scheduler._batch.advance
    server.scheduler._batch.advance = lambda: gate.wait() and advance()
    body = {"messages": QUESTION, "max_tokens": 500, "stream": True}
    with server.http.stream("POST", MESSAGES, json=body) as response:
        lines = response.iter_lines()
        while next(lines) != "event: ping":
            pass
        assert json.loads(next(lines).removeprefix("data: ")) == {"type": "ping"}
        gate.set()
        assert "event: message_stop" in list(lines)


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"cache_control": {"type": "ephemeral"}}, None),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}, None),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, None),
        ({"thinking": {"type": "adaptive", "display": "omitted", "x": 1}}, "thinking.display, thinking.x"),
        ({"metadata": {"user_id": "me"}, "service_tier": "auto", "container": None}, "metadata, service_tier"),
        ({"output_config": {"effort": "low", "x": 1}}, "output_config.x, output_config.effort"),
        ({"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}, None),
        ({"tools": [SEARCH, TOOL]}, "tools[0]"),
        ({"n": 2, "logprobs": True}, "n, logprobs"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_ignored_and_named(server, fields, ignored):
    response = server.post(MESSAGES, {"messages": QUESTION, "max_tokens": 2, **fields})
    assert response.status_code == 200, response.text
    assert response.headers.get("x-qwen3cpu-ignored") == ignored


def test_efforts_are_budgets(server, tiny):
    for effort, own in (("low", 1024), ("medium", 4096), ("max", None)):
        request = {"messages": QUESTION, "thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
        found = server.ok(MESSAGES, **request, seed=1, max_tokens=4000)
        expected = tiny.generate(TEXT, seed=1, thinking=True, thinking_budget=own)
        assert found["content"][-1]["text"] == expected.text
        assert found["content"][0]["thinking"] == expected.reasoning


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "document", "title": "T", "source": {"type": "text", "data": "d"}}], "T\nd"),
        (
            [{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "c"}]}}],
            "c",
        ),
        (
            [{"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "c"}]}],
            "T\nS\nc",
        ),
        ([], ""),
    ],
)  # fmt: skip
def test_blocks_of_text(server, tiny, content, text):
    messages = [{"role": "user", "content": content}]
    own = tiny.render([{"role": "user", "content": text}], thinking=False)
    counted = server.ok(COUNT, messages=messages)["input_tokens"]
    assert counted == len(tiny.tokenizer.encode(own, control_tokens=True))
    assert (
        message(server, messages=messages)["content"]
        == message(server, messages=[{"role": "user", "content": text}])["content"]
    )


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({}, ""),
        ({"content": "a"}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"content": "no way", "is_error": True}, "Error: no way"),
    ],
)
def test_results_of_tools(server, tiny, result, text):
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **result}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, USE]},
        {"role": "user", "content": [block, block]},
    ]
    call = {"id": "toolu_1", "type": "function", "function": {"name": "walk", "arguments": {"fast": True}}}
    answer = {"role": "tool", "tool_call_id": "toolu_1", "content": text}
    own = [*QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}, answer, answer]
    counted = server.ok(COUNT, messages=messages)["input_tokens"]
    assert counted == len(tiny.tokenizer.encode(tiny.render(own, thinking=False), control_tokens=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": None}, "messages: field required"),
        ({"messages": []}, "messages: expected at least one message, found none"),
        ({"messages": "hello"}, "messages: input should be a valid list"),
        ({"messages": [5]}, "messages[0]: input should be"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role: expected one of"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]: expected text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text: expected text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0]: expected text"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: expected"),
        ({"system": 5}, "system: expected text, found a number"),
        ({"system": [{"type": "image"}]}, "system[0]: expected text"),
        (
            {"messages": [*QUESTION, {"role": "assistant", "content": [{**USE, "input": 5}]}, *QUESTION]},
            "messages[1].content[0].input: expected an object",
        ),
        (
            {"messages": [*QUESTION, {"role": "assistant", "content": [{**USE, "input": "notobj"}]}, *QUESTION]},
            "messages[1].content[0].input: expected an object, found a string",
        ),
        (
            {
                "messages": [
                    *QUESTION,
                    {"role": "assistant", "content": [USE]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2", "content": "a"}]},
                ]
            },
            "messages[2].content[0].tool_use_id: expected the id of an earlier tool_use block, found 'toolu_2'",
        ),
        ({"tools": [{**TOOL, "input_schema": {"type": "array"}}]}, "tools[0].input_schema.type: expected 'object'"),
        (
            {"messages": [*QUESTION, {"role": "assistant", "content": [{**USE, "name": 5}]}, *QUESTION]},
            "messages[1].content[0].name: expected the function's name",
        ),
        (
            {"messages": [*QUESTION, {"role": "user", "content": [{"type": "tool_result", "content": 5}]}]},
            "messages[1].content[0].content: expected text",
        ),
        ({"max_tokens": 0}, "max_tokens: expected"),
        ({"max_tokens": "9"}, "max_tokens: input should be"),
        ({"stop_sequences": [5]}, "stop_sequences: input should be"),
        ({"stop_sequences": [""]}, "stop_sequences: an empty string"),
        ({"stop_sequences": ["a"] * 65}, "stop_sequences: expected at most 64 strings, found 65"),
        ({"thinking": {"type": "enabled", "budget_tokens": "9"}}, "thinking.budget_tokens: input should be"),
        ({"thinking": {"type": "enabled", "budget_tokens": -9}}, "thinking.budget_tokens: expected"),
        ({"thinking": {"type": "enabled", "budget_tokens": 500}}, "thinking.budget_tokens: expected less than max_tok"),
        ({"thinking": {"type": "much"}}, "thinking.type: expected one of enabled, disabled, adaptive"),
        ({"thinking": True}, "thinking: expected an object"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: expected one of minimal, low"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format: expected"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema: expected a JSON schema"),
        ({"output_config": 5}, "output_config: expected an object"),
        ({"tools": [5]}, "tools[0]: expected an object, found a number"),
        ({"tools": [SEARCH]}, "tools[0]: expected a tool with an input_schema"),
        ({"tools": [{"input_schema": SCHEMA}]}, "tools[0].name: expected"),
        ({"tools": [SEARCH, {**TOOL, "input_schema": 5}]}, "tools[1].input_schema: expected a JSON schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "fly"}}, "tool_choice: expected one of the tools"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice: expected"),
        ({"tools": [TOOL], "tool_choice": {"type": []}}, "tool_choice: expected"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: required, but there are no tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": 1}}, "tool_choice.disable"),
        ({"temperature": -1}, "temperature must be"),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.parametrize("path", [MESSAGES, COUNT])
def test_errors_name_the_clients_field(server, path, change, words):
    response = server.post(path, {"messages": QUESTION, "max_tokens": 500, **change})
    assert response.status_code == 400, response.text
    error = response.json()
    assert (list(error), error["type"]) == (["type", "error"], "error")
    assert list(error["error"]) == ["type", "message"]
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["message"].startswith(words)


def test_errors_in_schemas_name_the_clients_field(server):
    wrong = {"type": "x"}
    for change, place in (
        ({"output_config": {"format": {"type": "json_schema", "schema": wrong}}}, "output_config.format.schema: "),
        ({"output_format": {"type": "json_schema", "schema": wrong}}, "output_format.schema: "),
        (
            {"tools": [SEARCH, {**TOOL, "input_schema": wrong}], "tool_choice": {"type": "any"}},
            "tools[1].input_schema.type: ",
        ),
    ):
        response = server.post(MESSAGES, {"messages": QUESTION, "max_tokens": 500, **change})
        assert response.status_code == 400, response.text
        assert response.json()["error"]["message"].startswith(place)


def test_errors_of_all_kinds_have_anthropics_form(serve, tiny):
    server = serve(tiny, api_key="k", max_body=100)
    for key, status, kind in (
        ({}, 401, "authentication_error"),
        ({"x-api-key": "x"}, 401, "authentication_error"),
        ({"x-api-key": "k"}, 413, "request_too_large"),
    ):
        body = {"messages": [{"role": "user", "content": "a" * 100}]}
        response = server.post(MESSAGES, body, headers=key)
        assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    server.http.headers["x-api-key"] = "k"
    assert server.http.get(MESSAGES).json()["error"]["type"] == "invalid_request_error"
    assert server.http.get(f"{MESSAGES}/batches").json()["error"]["type"] == "not_found_error"
    body = {"model": "claude", "messages": QUESTION}
    assert server.post(MESSAGES, body).json()["error"]["type"] == "not_found_error"
    assert server.http.get("/v1/models").status_code == 200, "the key is taken everywhere"
    server.scheduler.stop()
    response = server.post(MESSAGES, {"messages": QUESTION})
    assert (response.status_code, response.json()["error"]["type"]) == (503, "overloaded_error")


def test_the_requests_of_claude_code(server, tiny):
    """A session as documented for Claude Code and its gateways: a check, a count, a tool, an answer."""
    server_headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
        "x-app": "cli",
        "authorization": "Bearer none",
    }
    cached = {"cache_control": {"type": "ephemeral"}}

    def post(path, body, status=200):
        response = server.post(f"{path}?beta=true", body, headers=server_headers)
        assert response.status_code == status, response.text
        return response

    check = {"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": "quota"}]}
    assert post(MESSAGES, {**check, "metadata": {"user_id": "user_1"}}).json()["usage"]["output_tokens"] == 1
    reminder = {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"}
    bash = {
        "name": "Bash",
        "description": "Runs a command.",
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"background": {"type": "boolean", "description": "Whether not to wait"}},
            "required": ["background"],
            "additionalProperties": False,
        },
    }
    body = {
        "model": "tiny",
        "max_tokens": 32000,
        "system": [
            {"type": "text", "text": "You are an agent.", **cached},
            {"type": "text", "text": "Be brief."},
        ],
        "messages": [{"role": "user", "content": [reminder, {"type": "text", "text": TEXT, **cached}]}],
        "tools": [bash],
        "metadata": {"user_id": "user_1"},
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }
    count = {name: body[name] for name in ("model", "system", "messages", "tools", "thinking")}
    counted = post(COUNT, count).json()["input_tokens"]
    # The model inside the package calls a tool only when it must.
    choice = {"type": "any", "disable_parallel_tool_use": True}
    first = post(MESSAGES, {**body, "tool_choice": choice, "seed": 1}).json()
    assert first["usage"]["input_tokens"] + first["usage"]["cache_read_input_tokens"] == counted
    assert [block["type"] for block in first["content"]] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": "done", "is_error": False}
    body["messages"] += [
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [{**result, **cached}]},
    ]
    found = events(server, **body)
    assert found[-2]["delta"]["stop_reason"] == "end_turn"
    call = {"name": "Bash", "arguments": first["content"][1]["input"]}
    own = [
        {"role": "system", "content": "You are an agent.\nBe brief."},
        {"role": "user", "content": f"{reminder['text']}\n{TEXT}"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": first["content"][0]["thinking"],
            "tool_calls": [{"id": first["content"][1]["id"], "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": first["content"][1]["id"], "content": "done"},
    ]
    function = {**bash, "parameters": bash["input_schema"]}
    del function["input_schema"]
    expected = tiny.generate(own, seed=1, thinking=True, tools=[{"type": "function", "function": function}])
    text = "".join(event["delta"]["text"] for event in found if event.get("delta", {}).get("type") == "text_delta")
    assert text == expected.text
    # After a stop by the user, the conversation has the reasoning and half an answer.
    body["messages"] += [
        {"role": "assistant", "content": [{"type": "text", "text": text}]},
        {"role": "user", "content": [{"type": "text", "text": "[Request interrupted by user]"}]},
        {"role": "user", "content": [{"type": "text", "text": "What is 1 + 2?", **cached}]},
    ]
    assert post(MESSAGES, {**body, "seed": 1}).json()["stop_reason"] == "end_turn"
    # The title of the session, as JSON by a schema.
    title = {"type": "object", "properties": {"title": {"enum": ["Sums"]}}, "required": ["title"]}
    asked = {"model": "tiny", "max_tokens": 512, "messages": QUESTION, "system": "Write a title.", "temperature": 1}
    asked["output_config"] = {"format": {"type": "json_schema", "schema": title}}
    assert json.loads(post(MESSAGES, asked).json()["content"][0]["text"]) == {"title": "Sums"}
