"""POST /v1/responses."""

import json

import pytest

PATH = "/v1/responses"
QUESTION = "What is 17 + 25?"
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "name": "walk", "parameters": SCHEMA, "strict": True}


def test_reasoning_and_text(server, tiny):
    reply = server.ok(PATH, input=QUESTION, seed=1)
    expected = tiny.generate(QUESTION, seed=1)
    assert (reply["object"], reply["status"], reply["error"]) == ("response", "completed", None)
    reasoning, message = reply["output"]
    assert (reasoning["type"], message["type"], message["role"]) == ("reasoning", "message", "assistant")
    assert reasoning["content"] == [{"type": "reasoning_text", "text": expected.reasoning}]
    assert message["content"][0]["text"] == expected.text
    assert reply["usage"]["output_tokens"] == expected.usage.completion_tokens
    assert reply["usage"]["output_tokens_details"]["reasoning_tokens"] == expected.usage.reasoning_tokens
    assert reply["usage"]["input_tokens"] == expected.usage.prompt_tokens


def test_without_thinking(server, tiny):
    (message,) = server.ok(PATH, input=QUESTION, seed=1, reasoning={"effort": "none"})["output"]
    assert message["content"][0]["text"] == tiny.generate(QUESTION, seed=1, thinking=False).text


@pytest.mark.parametrize("tools", [None, [TOOL]], ids=["text", "call"])
def test_events_tell_the_whole(server, tools):
    body = {"input": QUESTION, "seed": 1}
    if tools:
        body |= {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
    whole = server.ok(PATH, **body)
    events, _ = server.events(PATH, **body)
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for index, item in enumerate(whole["output"]):
        own = [event for event in events if event.get("output_index") == index]
        assert own[0]["type"] == "response.output_item.added"
        assert own[-1]["type"] == "response.output_item.done"
        deltas = "".join(event["delta"] for event in own if event["type"].endswith(".delta"))
        text = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert deltas == text != ""
        made_up = ("id", "call_id")
        told = own[-1]["item"]
        assert {k: v for k, v in told.items() if k not in made_up} == {
            k: v for k, v in item.items() if k not in made_up
        }
    final = events[-1]["response"]
    assert [item["type"] for item in final["output"]] == [item["type"] for item in whole["output"]]
    assert final["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_a_function_call(server):
    reply = server.ok(PATH, input=QUESTION, seed=1, tools=[TOOL], tool_choice={"type": "function", "name": "walk"})
    call = reply["output"][-1]
    assert (call["type"], call["name"]) == ("function_call", "walk")
    assert 0 <= json.loads(call["arguments"])["a"] <= 99
    assert call["call_id"].startswith("call_")


def test_a_schema(server, tiny):
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
    reply = server.ok(PATH, input=QUESTION, seed=1, text=wanted)
    assert reply["output"][-1]["content"][0]["text"] == tiny.generate(QUESTION, seed=1, schema=SCHEMA).text


def test_a_limit(server):
    reply = server.ok(PATH, input=QUESTION, seed=1, max_output_tokens=3)
    assert reply["status"] == "incomplete"
    assert reply["incomplete_details"] == {"reason": "max_output_tokens"}
    events, _ = server.events(PATH, input=QUESTION, seed=1, max_output_tokens=3)
    assert events[-1]["type"] == "response.incomplete"


def test_items_become_messages(server, tiny):
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Hi."}]},
        {"type": "message", "role": "user", "content": "What is 3 + 4?"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "3+4=7"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "7.", "annotations": []}]},
        {"role": "user", "content": [{"type": "input_text", "text": "And "}, {"type": "input_text", "text": "5 + 5?"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "a call"}]},
        {"type": "function_call", "call_id": "c1", "name": "walk", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "walk", "arguments": '{"a": 2}'},
        {"type": "function_call_output", "call_id": "c1", "output": "10"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "11"}]},
    ]
    reply = server.ok(PATH, input=items, instructions="Be brief.", seed=2)
    call = [
        {"id": f"c{i}", "type": "function", "function": {"name": "walk", "arguments": f'{{"a": {i}}}'}} for i in (1, 2)
    ]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Hi."},
        {"role": "user", "content": "What is 3 + 4?"},
        {"role": "assistant", "reasoning_content": "3+4=7", "content": "7."},
        {"role": "user", "content": "And 5 + 5?"},
        {"role": "assistant", "reasoning_content": "a call", "tool_calls": call},
        {"role": "tool", "tool_call_id": "c1", "content": "10"},
        {"role": "tool", "tool_call_id": "c2", "content": "11"},
    ]
    expected = tiny.generate(messages, seed=2)
    assert reply["usage"]["input_tokens"] == expected.usage.prompt_tokens
    assert reply["output"][-1]["content"][0]["text"] == expected.text


def test_what_came_out_may_go_in_again(server):
    first = server.ok(PATH, input=QUESTION, seed=1)
    again = [{"role": "user", "content": QUESTION}, *first["output"], {"role": "user", "content": "Sure?"}]
    assert server.ok(PATH, input=again, seed=1)["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input: field required"),
        ({"input": []}, "input: expected at least one message"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "image"}]}, "found 'image'"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]: expected a part of text, found a part of type 'input_image'",
        ),
        ({"input": [{"role": "user", "content": 5}]}, r"input[0].content: expected text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]},
            "input[0].content[0].text: expected a string, found a number",
        ),
        (
            {"input": [{"role": "robot", "content": "a"}]},
            "expected one of system, developer, user, assistant, tool, fo",
        ),
        ({"input": "a", "previous_response_id": "r"}, "previous_response_id: input should be null"),
        ({"input": "\ud800"}, "input: "),
        ({"input": "a", "instructions": "\ud800"}, "instructions: "),
        (
            {"input": [{"role": "user", "content": "a"}, {"type": "function_call", "name": "f"}]},
            "input[1].arguments: expected",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "\ud800"}]}, "input[0].output: "),
        ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "a", "background": True}, "background"),
        ({"input": "a", "truncation": "some"}, "truncation"),
        ({"input": "a", "tools": [{"type": "web_search"}]}, "tools[0]: expected a tool of type function"),
        ({"input": "a", "tools": [TOOL], "tool_choice": {"type": "file_search"}}, "found 'file_search'"),
        ({"input": "a", "text": {"format": {"type": "json_schema"}}}, "expected a schema"),
        ({"input": "a", "reasoning": {"effort": "giant"}}, "reasoning.effort"),
        ({"input": "a" * 9000}, "the context holds 4096"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_requests(server, body, words):
    error = server.refused(PATH, body, 400)
    assert words in error["message"]
    if words.endswith(": "):
        assert error["param"] == words[:-2]


def test_an_error_ends_the_stream(serve, tiny):
    server = serve(tiny, timeout=0.5)
    server.scheduler._batch.advance = list  # steps have no outcomes
    events, _ = server.events(PATH, input=QUESTION)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "timeout"
