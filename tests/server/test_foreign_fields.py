"""Fields of other servers: used under their names here, ignored and named, or refused by name."""

import inspect
import re
from pathlib import Path

import openai
import pytest

from qwen3cpu.server.api.bodies import ChatBody, CompletionBody
from qwen3cpu.server.api.foreign_fields import REFUSED, translate
from qwen3cpu.server.api.message_forms import unread_fields
from qwen3cpu.server.api.responses_input import ResponsesBody
from qwen3cpu.server.api.search_bodies import EmbeddingsBody

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
NUMBER = {"type": "integer", "minimum": 0, "maximum": 99}
FUNCTION = {
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": NUMBER}, "required": ["a"], "additionalProperties": False},
}
OTHER = {"name": "walk", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}
TOOLS = [{"type": "function", "function": each} for each in (FUNCTION, OTHER)]
ALLOWED = {"mode": "required", "tools": TOOLS[1:]}
CALL = {"name": "add", "arguments": "{}"}
THOUGHT = {"type": "thinking", "thinking": "hm"}
DOCS = Path(__file__).parents[2] / "docs" / "serving.md"


def answer(server, **fields):
    """The choice, and the ignored fields, of a chat."""
    response = server.post(CHAT, {"messages": QUESTION, "seed": 1, **fields})
    assert response.status_code == 200, response.text
    named = response.headers.get("x-qwen3cpu-ignored")
    return response.json()["choices"], named.split(", ") if named else []


@pytest.mark.parametrize(
    ("foreign", "own"),
    [
        ({"repeat_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"typ_p": 0.5, "temperature": 2.0}, {"typical_p": 0.5, "temperature": 2.0}),
        ({"typical_p": 1, "top_n_sigma": -1, "xtc_probability": 0, "dry_multiplier": 0.0}, {}),
        ({"n_predict": 3}, {"max_tokens": 3}),
        ({"max_new_tokens": 3}, {"max_tokens": 3}),
        ({"max_tokens": -1}, {}),
        ({"max_completion_tokens": -1}, {}),
        ({"max_tokens": 3, "max_completion_tokens": 3}, {"max_tokens": 3}),
        ({"top_k": -1, "temperature": 2.0}, {"top_k": 0, "temperature": 2.0}),
        ({"options": {"num_predict": 3, "top_k": 5, "min_p": 0.1}}, {"max_tokens": 3, "top_k": 5, "min_p": 0.1}),
        ({"think": False}, {"reasoning_effort": "none"}),
        ({"enable_thinking": False}, {"reasoning_effort": "none"}),
        ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 3}}, {"thinking_budget": 3}),
        ({"reasoning": {"effort": "none"}}, {"reasoning_effort": "none"}),
        ({"reasoning": {"max_tokens": 3}}, {"thinking_budget": 3}),
        ({"reasoning_budget": 3}, {"thinking_budget": 3}),
        ({"reasoning_budget": -1}, {}),
        ({"reasoning_effort": "max"}, {}),
        ({"think": "low"}, {"reasoning_effort": "low"}),
        ({"guided_json": SCHEMA}, {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}),
        ({"json_schema": SCHEMA}, {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}),
        ({"format": SCHEMA}, {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}),
        ({"format": "json", "max_tokens": 9}, {"response_format": {"type": "json_object"}, "max_tokens": 9}),
        (
            {"structured_outputs": {"json": SCHEMA}},
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        ),
        ({"best_of": 1, "skip_special_tokens": True, "use_beam_search": False}, {}),
        ({"logit_bias": [[10, 5]], "max_tokens": 3}, {"logit_bias": {"10": 5}, "max_tokens": 3}),
        (dict.fromkeys(("prediction", "stop", "n", "logprobs", "tools", "stream_options", "audio")), {}),
        (
            {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": ALLOWED}},
            {"tools": TOOLS[1:], "tool_choice": "required"},
        ),
        ({"tools": TOOLS[:1], "tool_choice": "any"}, {"tools": TOOLS[:1], "tool_choice": "required"}),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_what_has_a_meaning_is_taken(server, foreign, own):
    found, ignored = answer(server, **foreign)
    expected, _ = answer(server, **own)
    for choice in (*found, *expected):
        for call in choice["message"].get("tool_calls", ()):
            del call["id"]
    assert found == expected
    assert ignored == []


WITHOUT = {"chat_template_kwargs": {"enable_thinking": False}}
WITH = {"chat_template_kwargs": {"enable_thinking": True}}


@pytest.mark.parametrize(
    ("foreign", "chat", "responses"),
    [
        ({"think": "low"}, {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"thinking": "none"}, {"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
        ({"think": False}, WITHOUT, WITHOUT),
        ({"enable_thinking": True}, WITH, WITH),
        ({"thinking": {"type": "disabled"}}, WITHOUT, WITHOUT),
        ({"thinking": {"budget_tokens": 3}}, WITH | {"thinking_budget": 3}, WITH | {"thinking_budget": 3}),
        ({"thinking": {"type": "adaptive"}}, {}, {}),
        (
            {"think": "low", "reasoning_effort": "high", "reasoning": {"effort": "high"}},
            {"reasoning_effort": "high"},
            {"reasoning": {"effort": "high"}},
        ),
        ({"think": False, **WITH}, WITH, WITH),
    ],
    ids=str,
)
def test_thinking_is_taken_by_chats_and_by_responses(foreign, chat, responses):
    """Each endpoint has its own names for it, and these take precedence."""
    found, ignored, _ = translate(foreign, "chat", frozenset(ChatBody.model_fields))
    assert (found, ignored) == (chat, [])
    found, ignored, _ = translate(foreign, "responses", frozenset(ResponsesBody.model_fields))
    assert (found, [name for name in ignored if name != "reasoning_effort"]) == (responses, [])


def test_what_has_none_is_ignored_and_named(server, caplog):
    fields = {"keep_alive": "5m", "mirostat": 2, "options": {"num_ctx": 4096}, "stream_options": {"chunks": 1}}
    found, ignored = answer(server, **fields, **{"a\r\nb: c": 1, "é": 2})
    assert found == answer(server)[0]
    assert ignored == ["options.num_ctx", "keep_alive", "mirostat", "a%0D%0Ab:%20c", "%C3%A9", "stream_options.chunks"]
    assert f"{CHAT}: ignored the field mirostat" in caplog.text
    events = server.post(CHAT, {"messages": QUESTION, "max_tokens": 1, "stream": True, "keep_alive": 1})
    assert events.headers["x-qwen3cpu-ignored"] == "keep_alive"


def test_long_names_do_not_make_a_header_that_clients_cannot_read(server):
    fields = {chr(0x1F600 + number) * 1000: 1 for number in range(40)}
    ignored = answer(server, **fields)[1]
    assert ignored[0] == "%F0%9F%98%80" * 25
    assert len(", ".join(ignored)) < 10_000


@pytest.mark.parametrize("name", ["", " a", "a ", " ", "\t"])
def test_an_ignored_field_with_a_name_that_no_header_takes(server, name):
    """A value of a header must not begin or end with white space: the answer would be lost."""
    found, ignored = answer(server, **{name: 1})
    assert found == answer(server)[0]
    assert ignored == [name.replace(" ", "%20").replace("\t", "%09") or "?"]


def test_a_misspelt_field_gets_a_suggestion(server, caplog):
    response = server.post(CHAT, {"messages": QUESTION, "max_tokens": 1, "temprature": 0.5})
    assert response.headers["x-qwen3cpu-hint"] == "temprature: did you mean temperature?"
    assert "did you mean temperature?" in caplog.text


@pytest.mark.parametrize(
    ("path", "fields", "ignored", "hint"),
    [
        (CHAT, {"response_format": {"type": "text", "bogus": 1}}, "response_format.bogus", None),
        (
            CHAT,
            {"response_format": {"type": "text", "json_shema": 1}},
            "response_format.json_shema",
            "response_format.json_shema: did you mean response_format.json_schema?",
        ),
        (
            CHAT,
            {"options": {"temprature": 1}},
            "options.temprature",
            "options.temprature: did you mean options.temperature?",
        ),
        (CHAT, {"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", None),
        (CHAT, {"messages": [{**QUESTION[0], "name": "Ann", "mood": 1}]}, "messages[0].name, messages[0].mood", None),
        ("/v1/messages", {"system": "a", "messages": [{**QUESTION[0], "mood": 1}]}, "messages[0].mood", None),
        (
            "/v1/responses",
            {"text": {"verbosity": "low"}, "reasoning": {"summary": "auto"}},
            "reasoning.summary, text.verbosity",
            None,
        ),
        (
            "/v1/responses",
            {"text": {"verbosity": "medium"}, "stream_options": {"include_obfuscation": False}},
            None,
            None,
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_fields_inside_of_objects(server, path, fields, ignored, hint):
    """Those without an effect are named. A hint names a field beside them."""
    question = {"input": "a", "max_output_tokens": 16} if path == "/v1/responses" else {"messages": QUESTION}
    response = server.post(path, {**question, **fields})
    assert response.status_code == 200, response.text
    assert response.headers.get("x-qwen3cpu-ignored") == ignored
    assert response.headers.get("x-qwen3cpu-hint") == hint


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_ignored_is_refused(server, name):
    error = server.refused(CHAT, {"messages": QUESTION, name: "x"}, 400)
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")


@pytest.mark.parametrize(
    ("messages", "plain"),
    [
        (
            [*QUESTION, {"role": "assistant", "content": None}, QUESTION[0]],
            [*QUESTION, {"role": "assistant", "content": ""}, QUESTION[0]],
        ),
        (
            [*QUESTION, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, QUESTION[0]],
            [*QUESTION, {"role": "assistant", "content": "No."}, QUESTION[0]],
        ),
        ([{"role": "user", "content": [{"type": "input_text", "text": "What is 17 + 25?"}]}], QUESTION),
        (
            [
                *QUESTION,
                {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "4"}]},
                QUESTION[0],
            ],
            [*QUESTION, {"role": "assistant", "content": "4", "reasoning_content": "hm"}, QUESTION[0]],
        ),
        (
            [
                *QUESTION,
                {"role": "assistant", "content": None, "function_call": CALL},
                {"role": "function", "name": "add", "content": 42},
            ],
            [
                *QUESTION,
                {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL}]},
                {"role": "tool", "name": "add", "content": "42"},
            ],
        ),
        (
            [*QUESTION, {"role": "assistant", "content": "a"}, {"role": "tool", "content": None}],
            [*QUESTION, {"role": "assistant", "content": "a"}, {"role": "tool", "content": ""}],
        ),
        (
            [*QUESTION, {"role": "assistant", "content": "a"}, {"role": "tool", "content": {"a": [1]}}],
            [*QUESTION, {"role": "assistant", "content": "a"}, {"role": "tool", "content": '{"a": [1]}'}],
        ),
    ],
    ids=["null", "refusal", "input_text", "thinking", "function", "no result", "object"],
)  # fmt: skip
def test_messages_in_other_forms(server, messages, plain):
    rendered = [server.ok("/apply-template", messages=each)["prompt"] for each in (messages, plain)]
    assert rendered[0] == rendered[1]
    assert server.ok(CHAT, messages=messages, max_tokens=1)["choices"]


def test_functions_from_before_there_were_tools(server):
    old = {"functions": [FUNCTION, OTHER], "function_call": {"name": "add"}}
    (choice,), ignored = answer(server, **old)
    assert (choice["finish_reason"], ignored) == ("function_call", [])
    assert choice["message"]["function_call"]["name"] == "add"
    assert "tool_calls" not in choice["message"]
    events, _ = server.events(CHAT, messages=QUESTION, seed=1, **old)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert [delta["function_call"] for delta in deltas if "function_call" in delta] == [
        choice["message"]["function_call"]
    ]
    assert events[-1]["choices"][0]["finish_reason"] == "function_call"


def test_an_answer_that_continues_a_message(server, tiny):
    whole = tiny.generate("What is 17 + 25?", thinking=False, temperature=0).text
    messages = [*QUESTION, {"role": "assistant", "content": whole[:1]}]
    fields = {"continue_final_message": True, "add_generation_prompt": False, "temperature": 0}
    assert server.ok(CHAT, messages=messages, **fields)["choices"][0]["message"]["content"] == whole[1:]
    assert server.refused(CHAT, {"messages": QUESTION, **fields}, 400)["param"] == "continue_final_message"


@pytest.mark.parametrize(
    ("path", "more"), [(CHAT, {"continue_final_message": True}), ("/v1/messages", {}), ("/api/chat", {})]
)
def test_nothing_before_the_message_to_continue(server, path, more):
    body = {"max_tokens": 3, "messages": [{"role": "assistant", "content": "Once upon"}], **more}
    error = server.refused(path, body, 400)
    message = error if isinstance(error, str) else error["message"]
    assert message.startswith("messages: expected a message before the one to continue, found only")


def test_responses_in_other_forms(server):
    tools = [{"type": "function", **FUNCTION}, {"type": "web_search"}]
    body = {"input": "What is 17 + 25?", "max_output_tokens": 4, "tools": tools, "truncation": "auto", "store": True}
    response = server.post("/v1/responses", body)
    assert response.status_code == 200, response.text
    assert response.headers["x-qwen3cpu-ignored"] == "tools[1], store, truncation"
    chosen = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]}
    reply = server.ok("/v1/responses", input="What is 17 + 25?", tools=tools, tool_choice=chosen, seed=1)
    assert "function_call" in [item["type"] for item in reply["output"]]


def test_completions_in_other_forms(server):
    own = server.ok("/v1/completions", prompt="17 + 25 =", seed=1, max_tokens=4)
    body = {"prompt": "17 + 25 =", "seed": 1, "n_predict": 4, "echo": None, "best_of": 1, "cache_prompt": True}
    response = server.post("/v1/completions", body)
    assert response.json()["choices"] == own["choices"]
    assert "x-qwen3cpu-ignored" not in response.headers
    whole = server.ok("/v1/completions", prompt="17 + 25 =", seed=1, max_tokens=-1)["choices"][0]
    assert whole["text"].startswith(own["choices"][0]["text"])
    assert len(whole["text"]) > len(own["choices"][0]["text"])


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        (CHAT, {"messages": QUESTION, "max_tokens": 0}, "max_tokens", "max_tokens: expected"),
        (CHAT, {"messages": QUESTION, "max_completion_tokens": 0}, "max_completion_tokens", "max_completion_tokens:"),
        (CHAT, {"messages": QUESTION, "temperature": -1}, "temperature", "temperature must be"),
        (CHAT, {"messages": QUESTION, "n": 1000}, "n", "n: expected at most"),
        (CHAT, {"messages": [*QUESTION, {"role": "user", "content": 5}]}, "messages[1].content", "messages[1].content"),
        (CHAT, {"messages": [*QUESTION, 5]}, "messages[1]", "messages[1]: input should be"),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 9000}]}, "messages", "the context holds"),
        (CHAT, {"messages": QUESTION, "stop": 5}, "stop", "stop: input should be"),
        (CHAT, {"messages": QUESTION, "logit_bias": {"99999999": 1}}, "logit_bias", "logit_bias names token"),
        ("/v1/completions", {"prompt": ["a", "a" * 9000]}, "prompt[1]", "prompt[1]: the prompt has"),
        ("/v1/completions", {"prompt": [[1], [99999]]}, "prompt[1][0]", "prompt[1][0]: expected an id"),
        ("/v1/completions", {"prompt": [1, 99999]}, "prompt[1]", "prompt[1]: expected an id"),
        ("/v1/completions", {"prompt": ["a", ""]}, "prompt[1]", "prompt[1]: the prompt is empty"),
        ("/v1/completions", {"prompt": "a", "max_tokens": -3}, "max_tokens", "max_tokens: expected"),
        ("/v1/responses", {"input": "a", "max_output_tokens": 0}, "max_output_tokens", "max_output_tokens: expected"),
        (
            "/v1/responses",
            {"instructions": "a", "input": [{"role": "user", "content": "a"}, {"role": "robot", "content": "a"}]},
            "input[1].role",
            "input[1].role: expected one of",
        ),
        ("/v1/responses", {"input": "a" * 9000}, "input", "the context holds"),
        ("/v1/responses", {"input": "a", "stop": "\ud800"}, "stop", "stop: expected Unicode text, found the lone"),
        (CHAT, {"messages": QUESTION, "stop": ["a", "\ud800"]}, "stop[1]", "stop[1]: expected Unicode text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_name_the_field_of_the_client(server, path, body, param, words):
    error = server.refused(path, body, 400)
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("chat", ChatBody),
        ("completions", CompletionBody),
        ("responses", ResponsesBody),
        ("embeddings", EmbeddingsBody),
    ],
)
def test_the_table_has_every_parameter_of_openais_client(endpoint, body):
    """docs/serving.md has every field, and agrees with the code."""
    client = openai.OpenAI(api_key="none", base_url="http://localhost")
    resource = client.chat.completions if endpoint == "chat" else getattr(client, endpoint)
    asked = set(inspect.signature(resource.create).parameters)
    asked -= {"extra_headers", "extra_query", "extra_body", "timeout"}
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (taken|ignored|refused)\b.*\|$", DOCS.read_text(), re.MULTILINE)
    table = {name: what for name, where, what in rows if where == endpoint}
    assert asked - set(table) == set()
    for name, what in table.items():
        known = name in body.model_fields or name in ("functions", "function_call")
        expected = "taken" if known else "refused" if name in REFUSED else "ignored"
        if name in ("background", "conversation", "previous_response_id") or (endpoint, name) == (
            "responses",
            "prompt",
        ):
            expected = "refused"
        assert what == expected, name


@pytest.mark.parametrize(
    ("template", "ignored"),
    [
        ("{% for m in messages %}{{ m.name }}{% endfor %}", ["messages[0].mood"]),
        ("{% for message in messages[1:] %}{{ message['mood'] }}{% endfor %}", ["messages[0].name"]),
        ("{{ messages[0].get('mood') }}{{ tool_call.name }}", ["messages[0].name"]),
        ("{% for message in messages %}{{ message | tojson }}{% endfor %}", []),
    ],
)
def test_fields_that_a_chat_template_reads(template, ignored):
    message = {"role": "user", "content": "a", "name": "Ann", "mood": 1}
    assert list(unread_fields([message], template)) == ignored
