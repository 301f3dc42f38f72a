"""POST /v1/chat/completions: the same answers as Model.generate, in OpenAI's form."""

import json
import re

import pytest
from dictation import dictate

from qwen3cpu.generation import loops

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]


def joined(events, field):
    return "".join(event["choices"][0]["delta"].get(field) or "" for event in events if event["choices"])


def test_a_whole_answer(server, tiny):
    reply = server.chat(seed=1)
    expected = tiny.generate("What is 17 + 25?", seed=1)
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "tiny"
    assert reply["seed"] == 1
    (choice,) = reply["choices"]
    assert choice["message"]["content"] == expected.text
    assert choice["message"]["reasoning_content"] == expected.reasoning != ""
    assert choice["finish_reason"] == "stop"
    assert reply["usage"] == {
        "prompt_tokens": expected.usage.prompt_tokens,
        "completion_tokens": expected.usage.completion_tokens,
        "total_tokens": expected.usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": reply["usage"]["prompt_tokens_details"]["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": expected.usage.reasoning_tokens},
    }


def test_a_streamed_answer_is_the_whole_one_in_pieces(server):
    whole = server.chat(seed=1)
    events, _ = server.events("/v1/chat/completions", messages=QUESTION, seed=1, stream_options={"include_usage": True})
    *pieces, counts = events
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    message = whole["choices"][0]["message"]
    assert joined(pieces, "reasoning_content") == message["reasoning_content"]
    assert joined(pieces, "content") == message["content"]
    assert [event["choices"][0]["finish_reason"] for event in pieces][-1] == "stop"
    assert counts["choices"] == []
    assert counts["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_several_answers_and_sampling(server, tiny):
    reply = server.chat(n=3, seed=5, temperature=1.5, top_p=0.9, top_k=40, min_p=0.01, max_tokens=30)
    expected = tiny.generate(
        "What is 17 + 25?", n=3, seed=5, temperature=1.5, top_p=0.9, top_k=40, min_p=0.01, max_new_tokens=30
    )
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert [c["message"]["content"] for c in reply["choices"]] == [result.text for result in expected]
    assert reply["usage"]["completion_tokens"] == sum(result.usage.completion_tokens for result in expected)
    assert reply["usage"]["prompt_tokens"] == expected[0].usage.prompt_tokens


def test_streams_of_several_answers(server):
    whole = server.chat(n=3, seed=5, temperature=1.5)
    events, _ = server.events("/v1/chat/completions", messages=QUESTION, n=3, seed=5, temperature=1.5)
    for choice in whole["choices"]:
        own = [event for event in events if event["choices"][0]["index"] == choice["index"]]
        assert joined(own, "content") == choice["message"]["content"]
        assert own[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {"thinking": True}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"thinking": False}),
        ({"reasoning_effort": "none"}, {"thinking": False}),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, {"thinking": True}),
        ({"reasoning_effort": "low"}, {"thinking_budget": 1024}),
        ({"thinking_budget": 3}, {"thinking_budget": 3}),
        ({"thinking_budget": 0}, {"thinking_budget": 0}),
    ],
)
def test_thinking(server, tiny, fields, options):
    message = server.chat(seed=2, **fields)["choices"][0]["message"]
    expected = tiny.generate("What is 17 + 25?", seed=2, **options)
    assert message.get("reasoning_content", "") == expected.reasoning
    assert message["content"] == expected.text


@pytest.mark.parametrize("detected", [True, False])
def test_thinking_in_a_loop(server, tiny, detected):
    """With a bias for <think> and two digits, the model repeats these digits for ever."""
    ids = [tiny.tokenizer.think, *(tiny.tokenizer.encode(digit)[0] for digit in "79")]
    reply = server.chat(
        logit_bias={str(token): 1000.0 for token in ids}, temperature=0, max_tokens=900, loop_detection=detected
    )
    options = {"logit_bias": dict.fromkeys(ids, 1000.0), "temperature": 0, "max_new_tokens": 900}
    expected = tiny.generate("What is 17 + 25?", **options, loop_detection=detected)
    assert expected.thinking_closed_by == ("loop" if detected else None)
    assert reply["choices"][0]["message"]["reasoning_content"] == expected.reasoning


def test_an_answer_ends_at_its_deadline(server):
    biased = {"logit_bias": {"10": 1000.0}, "temperature": 0, "reasoning_effort": "none"}  # without an end
    whole = server.chat(**biased, deadline=0.2)
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["total_tokens"] < 4096
    late = server.chat(deadline=1e-6)
    assert late["choices"][0]["finish_reason"] == "length"


def test_stop_strings_and_limits(server, tiny):
    choice = server.chat(seed=1, stop=["2", "9"])["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("4", "stop")
    choice = server.chat(seed=1, max_completion_tokens=3)["choices"][0]
    assert choice["finish_reason"] == "length"


def test_log_probabilities_are_those_of_the_content(server, tiny):
    choice = server.chat(seed=1, logprobs=True, top_logprobs=3)["choices"][0]
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == choice["message"]["content"]
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == choice["message"]["content"]
    expected = tiny.generate("What is 17 + 25?", seed=1, logprobs=3)
    by_token = [score for score in expected.logprobs if score.token_id not in tiny.eos_token_ids][-len(entries) :]
    assert [entry["logprob"] for entry in entries] == [score.logprob for score in by_token]
    assert [[top["logprob"] for top in entry["top_logprobs"]] for entry in entries] == [
        [top.logprob for top in score.top] for score in by_token
    ]
    events, _ = server.events("/v1/chat/completions", messages=QUESTION, seed=1, logprobs=True, top_logprobs=3)
    streamed = [event["choices"][0]["logprobs"] for event in events]
    assert [entry for each in streamed if each for entry in each["content"]] == entries


def test_roles_and_content_parts(server, tiny):
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "What is 3 + 4?"},
        {"role": "assistant", "content": "7.", "refusal": None},
        {"role": "user", "content": "What is 5 + 5?"},
    ]
    reply = server.ok("/v1/chat/completions", messages=messages, seed=3)
    plain = [{"role": "system", "content": "Be brief."}, *messages[1:]]
    assert reply["choices"][0]["message"]["content"] == tiny.generate(plain, seed=3).text


def test_without_a_seed_answers_can_be_repeated(server):
    first = server.chat(temperature=2.0)
    again = server.chat(temperature=2.0, seed=first["seed"])
    assert first["choices"] == again["choices"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": "hello"}, "messages: input should be a valid list; found 'hello'"),
        ({"messages": [{"role": "robot", "content": "a"}]}, r"messages\[0\].role"),
        ({"messages": [{"role": "user", "content": 5}]}, r"messages\[0\].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "lone surrogate"),
        ({"temperature": "0.5"}, "temperature: input should be a valid number"),
        ({"temperature": -1}, "temperature must be"),
        ({"top_p": 2}, "top_p must be"),
        ({"n": 0}, "n: expected a whole number"),
        ({"n": 1000}, "n: expected at most 16 answers, found 1000"),
        ({"max_tokens": 0}, "max_tokens: expected a whole number"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "found both"),
        ({"max_tokens": 2.5}, "max_tokens: input should be a valid integer"),
        ({"seed": -2}, "seed must be"),
        ({"deadline": 0}, "deadline: expected a number of seconds above 0"),
        ({"deadline": "soon"}, "deadline: input should be a valid number"),
        ({"loop_detection": 1}, "loop_detection: input should be a valid boolean"),
        ({"speculate": 1}, "speculate: input should be a valid boolean"),
        ({"stop": [""]}, "stop: an empty string"),
        ({"stop": ["x"] * 65}, "stop: expected at most 64"),
        ({"stream": "yes"}, "stream: input should be a valid boolean"),
        ({"logit_bias": {"a": 1}}, "logit_bias: expected token ids"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias names token 99999999"),
        ({"top_logprobs": 2}, "expected logprobs to be true"),
        ({"logprobs": True, "top_logprobs": 21}, "expected 0 to 20, found 21"),
        ({"reasoning_effort": "huge"}, "reasoning_effort: expected one of none, minimal"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "expected true or false"),
        ({"chat_template_kwargs": {"template": "{{ x }}"}}, "unknown field 'template'"),
        ({"chat_template": "{{ 1 }}"}, "chat_template: not supported"),
        ({"tools": [{"type": "web_search"}]}, r"tools\[0\]: expected a tool of type function"),
        ({"tools": [{"type": "function", "function": {}}]}, r"tools\[0\].function.name"),
        ({"messages": [{"role": "user", "content": "a" * 9000}]}, "the context holds 4096 positions"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests(server, change, words):
    body = {"messages": QUESTION, **change}
    response = server.http.post(
        "/v1/chat/completions", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert re.search(words, error["message"]), error["message"]


def test_too_long_a_prompt_has_its_own_code(server):
    error = server.refused("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 9000}]}, 400)
    assert error["code"] == "context_length_exceeded"


def test_another_model_is_not_here(server):
    error = server.refused("/v1/chat/completions", {"model": "gpt-4o", "messages": QUESTION}, 404)
    assert error["code"] == "model_not_found"
    assert "'gpt-4o' is not here; expected 'tiny'" in error["message"]
    assert server.chat(model="tiny", max_tokens=1)["choices"]


def test_an_answer_in_a_loop_says_so(monkeypatch, serve, tiny):
    monkeypatch.setattr(loops, "IN_ANSWER", loops.LoopSize(span=256, repeats=8))
    dictate(monkeypatch, tiny, *["It is so. " * 200] * 4)
    server = serve(tiny)
    body = {"messages": [{"role": "user", "content": "x"}]}
    (choice,) = server.ok("/v1/chat/completions", **body)["choices"]
    assert (choice["finish_reason"], choice["finish_details"]) == ("length", {"type": "loop"})
    *_, last = server.events("/v1/chat/completions", **body)[0]
    assert (last["choices"][0]["finish_reason"], last["choices"][0]["finish_details"]) == ("length", {"type": "loop"})
    response = server.ok("/v1/responses", input="x")
    assert (response["status"], response["incomplete_details"]["detail"]) == ("incomplete", "loop")
    (choice,) = server.ok("/v1/completions", prompt="x", max_tokens=900)["choices"]
    assert choice["finish_reason"] == "length"
    assert len(choice["text"]) > 1000, "raw text may repeat"
