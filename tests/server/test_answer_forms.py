"""Regular expressions, choices and grammars in bodies, under the names of vLLM and llama.cpp, on every endpoint."""

import re

import pytest

pytest.importorskip("llguidance", reason="constraints need the extra [schema]")

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
LARK = 'start: "(" NUMBER ")"\nNUMBER: /[0-9]{3}/'
GBNF = 'root ::= "(" [0-9]{3} ")"'
NUMBER = r"\([0-9]{3}\)"
FORMS = [
    ({"regex": "[a-d]{5}"}, "[a-d]{5}"),
    ({"guided_regex": "[a-d]{5}"}, "[a-d]{5}"),
    ({"structured_outputs": {"regex": "[a-d]{5}"}}, "[a-d]{5}"),
    ({"choices": ["ja", "nein"]}, "ja|nein"),
    ({"guided_choice": ["ja", "nein"]}, "ja|nein"),
    ({"structured_outputs": {"choice": ["ja", "nein"]}}, "ja|nein"),
    ({"grammar": GBNF}, NUMBER),
    ({"guided_grammar": LARK}, NUMBER),
    ({"structured_outputs": {"grammar": LARK}}, NUMBER),
    ({"guided_json": {"const": 7}}, "7"),
    ({"json_schema": {"const": 7}}, "7"),
    ({"structured_outputs": {"json": '{"const": 7}'}}, "7"),
]


def text_of(response):
    assert response.status_code == 200, response.text
    assert "x-qwen3cpu-ignored" not in response.headers
    body = response.json()
    if "choices" in body:
        choice = body["choices"][0]
        return choice["text"] if "text" in choice else choice["message"]["content"]
    return body["output"][-1]["content"][0]["text"]


@pytest.mark.parametrize(("form", "expression"), FORMS, ids=str)
def test_every_endpoint_takes_them(server, form, expression):
    for path, question in (
        (CHAT, {"messages": QUESTION}),
        (COMPLETIONS, {"prompt": "a"}),
        (RESPONSES, {"input": "What is 17 + 25?"}),
    ):
        found = text_of(server.post(path, {**question, "seed": 2, **form}))
        assert re.fullmatch(expression, found), path


def test_the_server_answers_as_the_model_does(server, tiny):
    asked = {"messages": QUESTION, "seed": 4, "guided_regex": "[a-z ]{9}"}
    expected = tiny.generate(QUESTION, regex="[a-z ]{9}", seed=4).text
    assert text_of(server.post(CHAT, asked)) == expected
    parts = [event["choices"][0]["delta"].get("content") or "" for event in server.events(CHAT, **asked)[0]]
    assert "".join(parts) == expected


def test_other_apis(server):
    chat = server.ok("/api/chat", messages=QUESTION, stream=False, options={"grammar": GBNF}, seed=1)
    assert re.fullmatch(NUMBER, chat["message"]["content"])
    raw = server.ok("/api/generate", prompt="a", raw=True, stream=False, guided_choice=["ja", "nein"], seed=1)
    assert raw["response"] in ("ja", "nein")
    message = server.ok("/v1/messages", messages=QUESTION, max_tokens=90, guided_regex="[a-d]{5}", seed=1)
    assert re.fullmatch("[a-d]{5}", message["content"][-1]["text"])


def test_json_objects_and_what_is_unset(server):
    asked = {"messages": QUESTION, "seed": 1, "max_tokens": 40, "reasoning_effort": "none"}
    wanted = {**asked, "structured_outputs": {"json_object": True}}
    own = {**asked, "response_format": {"type": "json_object"}}
    assert text_of(server.post(CHAT, wanted)) == text_of(server.post(CHAT, own))
    assert text_of(server.post(CHAT, wanted)).startswith("{")
    unset = {"grammar": "", "structured_outputs": {"regex": None, "json_object": False}, "guided_choice": None}
    assert text_of(server.post(CHAT, {**asked, **unset})) == text_of(server.post(CHAT, asked))


def test_a_completion_that_is_cut_off_says_what_is_wrong(server):
    cut = server.ok(COMPLETIONS, prompt="a", max_tokens=1, response_format={"type": "json_object"})["choices"][0]
    assert cut["finish_reason"] == "length"
    assert "not complete JSON" in cut["schema_errors"][0]


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        ({"guided_regex": "ab("}, "guided_regex", "character 3 of the expression: unclosed group"),
        ({"structured_outputs": {"regex": "[^\\s\\S]"}}, "structured_outputs.regex", "nothing matches it"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "at least one string"),
        ({"guided_choice": ["a", 1]}, "guided_choice[1]", "string"),
        ({"grammar": "start: x"}, "grammar", 'unknown name: "x"'),
        ({"grammar": 'root ::= "a'}, "grammar", "Unexpected end of input at line 1"),
        ({"guided_grammar": 'start: A\nA: "a" & "b"'}, "guided_grammar", "line 2, column 8: not supported:"),
        ({"grammar": "x" * 70_000}, "grammar", "expected at most 65536 bytes, found 70000"),
        ({"choices": ["x" * 70_000]}, "choices", "expected at most 65536 bytes, found 70000"),
        ({"guided_regex": "a", "grammar": GBNF}, "grammar", "found regex and grammar"),
        ({"guided_json": {}, "guided_regex": "a"}, "guided_regex", "found schema and regex"),
        ({"structured_outputs": {"structural_tag": "a"}}, "structured_outputs.structural_tag", "not supported"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
def test_errors_name_the_field_of_the_client(server, path, body, place, words):
    question = {CHAT: {"messages": QUESTION}, COMPLETIONS: {"prompt": "a"}, RESPONSES: {"input": "a"}}[path]
    error = server.refused(path, {**question, **body}, 400)
    assert error["param"] == place
    assert words in error["message"]
