"""POST /v1/completions: raw prompts, echo, log-probabilities."""

import pytest

PROMPT = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"


def test_text_as_it_is(server, tiny):
    reply = server.ok("/v1/completions", prompt=PROMPT, seed=4, max_tokens=60)
    expected = tiny.generate(PROMPT, raw=True, seed=4, max_new_tokens=60)
    assert reply["object"] == "text_completion"
    (choice,) = reply["choices"]
    assert choice["text"] == tiny.tokenizer.decode(expected.token_ids)
    assert choice["text"].startswith("<think>"), "nothing is taken out of a raw completion"
    assert choice["logprobs"] is None
    assert choice["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] == expected.usage.completion_tokens


def test_sixteen_tokens_unless_told(server):
    reply = server.ok("/v1/completions", prompt="1", ignore_eos=True)
    assert reply["usage"]["completion_tokens"] == 16
    assert reply["choices"][0]["finish_reason"] == "length"


def test_several_prompts_of_text_and_ids(server, tiny):
    ids = [tiny.tokenizer.encode(PROMPT, control_tokens=True), [5, 6]]
    options = {"seed": 4, "max_tokens": 9, "n": 2, "temperature": 1.0, "ignore_eos": True}
    by_ids = server.ok("/v1/completions", prompt=ids, **options)
    by_text = server.ok("/v1/completions", prompt=[PROMPT, tiny.tokenizer.decode([5, 6])], **options)
    alone = [server.ok("/v1/completions", prompt=each, **options) for each in ids]
    texts = [[choice["text"] for choice in reply["choices"]] for reply in (by_ids, by_text, *alone)]
    assert texts[0] == texts[1] == texts[2] + texts[3]
    assert [choice["index"] for choice in by_ids["choices"]] == [0, 1, 2, 3]
    assert by_ids["usage"]["prompt_tokens"] == len(ids[0]) + len(ids[1])
    assert by_ids["usage"]["completion_tokens"] == 4 * 9


def test_echo_with_scores_of_the_prompt(server, tiny):
    ids = tiny.tokenizer.encode(PROMPT, control_tokens=True)
    (choice,) = server.ok("/v1/completions", prompt=PROMPT, echo=True, logprobs=2, max_tokens=4, temperature=0, seed=0)[
        "choices"
    ]
    answer = tiny.generate(ids, temperature=0, max_new_tokens=4, logprobs=2)
    scores = [*tiny.score(ids, top=2), *answer.logprobs]
    found = choice["logprobs"]
    assert choice["text"] == PROMPT + tiny.tokenizer.decode(answer.token_ids)
    assert "".join(found["tokens"]) == choice["text"]
    assert found["token_logprobs"] == [None, *(score.logprob for score in scores)]
    assert found["top_logprobs"][0] is None
    for entry, score in zip(found["top_logprobs"][1:], scores, strict=True):
        assert entry[score.text] == score.logprob
        assert max(entry.values()) == score.top[0].logprob
    for offset, token in zip(found["text_offset"], found["tokens"], strict=True):
        assert choice["text"][offset:].startswith(token)


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("logprobs", [None, 0, 3])
def test_a_prompt_without_an_answer(server, tiny, echo, logprobs):
    reply = server.ok("/v1/completions", prompt=PROMPT, echo=echo, logprobs=logprobs, max_tokens=0)
    (choice,) = reply["choices"]
    assert choice["text"] == (PROMPT if echo else "")
    assert reply["usage"]["completion_tokens"] == 0
    assert choice["finish_reason"] == "length"
    if logprobs is None:
        assert choice["logprobs"] is None
    else:
        assert len(choice["logprobs"]["tokens"]) == (reply["usage"]["prompt_tokens"] if echo else 0)


@pytest.mark.parametrize("echo", [True, False])
def test_a_stream_is_the_whole_in_pieces(server, echo):
    body = {"prompt": [PROMPT, "2"], "seed": 4, "max_tokens": 12, "n": 2, "logprobs": 1, "echo": echo}
    whole = server.ok("/v1/completions", **body)
    events, _ = server.events("/v1/completions", **body, stream_options={"include_usage": True})
    *pieces, counts = events
    for choice in whole["choices"]:
        own = [event["choices"][0] for event in pieces if event["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in own) == choice["text"]
        for name, entries in choice["logprobs"].items():
            assert [entry for part in own for entry in part["logprobs"][name]] == entries
        assert own[-1]["finish_reason"] == choice["finish_reason"]
    assert counts["choices"] == []
    assert counts["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_stop_strings_end_the_text(server):
    (whole,) = server.ok("/v1/completions", prompt=PROMPT, seed=4, max_tokens=60)["choices"]
    (cut,) = server.ok("/v1/completions", prompt=PROMPT, seed=4, max_tokens=60, stop="</think>")["choices"]
    assert cut["text"] == whole["text"].partition("</think>")[0] != whole["text"]
    assert cut["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "prompt: field required"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": []}, "found an empty list"),
        ({"prompt": [[]]}, "the prompt is empty"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [-1]}, "expected an id from 0 to 1023, found -1"),
        ({"prompt": [[1, 5000]]}, "expected an id from 0 to 1023, found 5000"),
        ({"prompt": ["a"] * 257}, "expected at most 256 prompts, found 257"),
        ({"prompt": "a", "suffix": "b"}, "suffix: not supported"),
        ({"prompt": "a", "best_of": 4}, "best_of: expected n = 1, found 4"),
        ({"prompt": "a", "logprobs": 50}, "logprobs: expected 0 to 20, found 50"),
        ({"prompt": "a", "logprobs": True}, "logprobs: input should be a valid integer"),
        ({"prompt": "a", "max_tokens": -3}, "max_tokens: expected a whole number of at least 1, found -3"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests(server, body, words):
    error = server.refused("/v1/completions", body, 400)
    assert words in error["message"]
