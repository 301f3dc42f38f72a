"""The samplers with llama.cpp's names in bodies: every endpoint and a batch answer like the model."""

import pytest

TEXT = "What is 17 + 25?"
QUESTION = [{"role": "user", "content": TEXT}]
FIELDS = {
    "temperature": 5.0,
    "top_n_sigma": 3.0,
    "typical_p": 0.9,
    "xtc_probability": 0.5,
    "xtc_threshold": 0.0001,
    "dry_multiplier": 0.8,
    "dry_base": 1.5,
    "dry_allowed_length": 1,
    "dry_penalty_last_n": 100,
    "dry_sequence_breakers": ["+", "\n"],
}
OFF = {"xtc_probability": 0, "typical_p": 1, "dry_multiplier": 0, "top_n_sigma": 0}


@pytest.fixture(scope="module")
def expected(tiny):
    found = tiny.generate(TEXT, seed=5, max_new_tokens=60, **FIELDS)
    plain = tiny.generate(TEXT, seed=5, max_new_tokens=60, temperature=FIELDS["temperature"])
    assert found.token_ids != plain.token_ids
    return found


def taken(response):
    assert response.status_code == 200, response.text
    assert "x-qwen3cpu-ignored" not in response.headers
    return response.json()


def test_chats(server, expected):
    body = {"messages": QUESTION, "seed": 5, "max_tokens": 60, **FIELDS}
    message = taken(server.post("/v1/chat/completions", body))["choices"][0]["message"]
    assert (message["content"], message.get("reasoning_content")) == (expected.text, expected.reasoning)
    deltas = [event["choices"][0]["delta"] for event in server.events("/v1/chat/completions", **body)[0]]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == expected.reasoning


def test_completions(server, tiny):
    found = taken(server.post("/v1/completions", {"prompt": "a", "seed": 5, "max_tokens": 30, **FIELDS}))
    own = tiny.generate("a", raw=True, seed=5, max_new_tokens=30, **FIELDS)
    plain = tiny.generate("a", raw=True, seed=5, max_new_tokens=30, temperature=FIELDS["temperature"])
    text, other = (tiny.tokenizer.decode(each.token_ids) for each in (own, plain))
    assert found["choices"][0]["text"] == text != other


def test_responses(server, expected):
    found = taken(server.post("/v1/responses", {"input": TEXT, "seed": 5, "max_output_tokens": 60, **FIELDS}))
    assert found["output"][0]["content"][0]["text"] == expected.reasoning


def test_ollama_and_anthropic(server, tiny, expected):
    options = {**FIELDS, "seed": 5, "num_predict": 60}
    found = taken(server.post("/api/chat", {"messages": QUESTION, "stream": False, "options": options}))
    assert (found["message"]["content"], found["message"]["thinking"]) == (expected.text, expected.reasoning)
    own = tiny.generate(TEXT, thinking=False, seed=5, max_new_tokens=60, **FIELDS)
    found = taken(server.post("/v1/messages", {"messages": QUESTION, "seed": 5, "max_tokens": 60, **FIELDS}))
    assert found["content"][0]["text"] == own.text


def test_values_that_switch_them_off(server):
    found, plain = (
        taken(server.post("/v1/chat/completions", {"messages": QUESTION, "seed": 5, **fields}))["choices"]
        for fields in (OFF, {})
    )
    assert found == plain


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"typical_p": 2}, "typical_p", "a number from 0 to 1"),
        ({"typ_p": -1}, "typ_p", "a number from 0 to 1"),
        ({"top_n_sigma": -2}, "top_n_sigma", "a finite number >= 0"),
        ({"xtc_probability": 1.5}, "xtc_probability", "a number from 0 to 1"),
        ({"xtc_threshold": -1}, "xtc_threshold", "a number from 0 to 1"),
        ({"dry_multiplier": -1}, "dry_multiplier", "a finite number >= 0"),
        ({"dry_base": 0.5}, "dry_base", "a finite number >= 1"),
        ({"dry_allowed_length": -1}, "dry_allowed_length", "an integer >= 0"),
        ({"dry_penalty_last_n": -2}, "dry_penalty_last_n", "an integer >= -1"),
        ({"dry_sequence_breakers": ["a", ""]}, "dry_sequence_breakers[1]", "a string of 1 to 64 characters"),
        ({"dry_sequence_breakers": ["a"] * 65}, "dry_sequence_breakers", "at most 64 strings"),
        ({"dry_sequence_breakers": "a"}, "dry_sequence_breakers", "list"),
        ({"dry_sequence_breakers": [1]}, "dry_sequence_breakers[0]", "string"),
        ({"dry_multiplier": "much"}, "dry_multiplier", "number"),
    ],
    ids=str,
)
def test_wrong_values_name_the_field(server, fields, param, says):
    error = server.refused("/v1/chat/completions", {"messages": QUESTION, **fields}, 400)
    assert error["param"] == param
    assert says in error["message"]
