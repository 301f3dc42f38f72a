"""Token healing in bodies of /v1/completions: the text continues, and log-probabilities are aligned with it."""

import codecs

import pytest

from qwen3cpu.generation.healing import Healing

PATH = "/v1/completions"
PROMPTS = ["Tom has 3 app", "What is 17 + 2", "the 👋🏽 and 世", "a"]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("stream", [False, True])
def test_texts_are_those_of_the_model(server, tiny, prompt, stream):
    body = {"prompt": prompt, "seed": 4, "max_tokens": 12, "token_healing": True}
    own = tiny.generate(prompt, raw=True, seed=4, max_new_tokens=12, token_healing=True)
    kept = Healing(tiny.tokenizer, tiny.tokenizer.encode(prompt), True).prompt
    expected = tiny.tokenizer.decode([*kept, *own.token_ids]).removeprefix(prompt)
    if stream:
        text = "".join(event["choices"][0]["text"] for event in server.events(PATH, **body)[0])
    else:
        found = server.ok(PATH, **body)
        text = found["choices"][0]["text"]
        assert found["usage"]["prompt_tokens"] == own.usage.prompt_tokens
    assert text == expected


def data_of(name):
    return codecs.escape_decode(name.removeprefix("bytes:"))[0] if name.startswith("bytes:") else name.encode()


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_line_up(serve, random_model, prompt, echo, stream):
    server = serve(random_model)
    body = {"prompt": prompt, "seed": 4, "max_tokens": 20, "logprobs": 2, "n": 2}
    body |= {"token_healing": True, "echo": echo, "ignore_eos": True}
    if stream:
        parts = [event["choices"][0] for event in server.events(PATH, **body)[0]]
    else:
        parts = server.ok(PATH, **body)["choices"]
    for choice in (0, 1):
        own = [part for part in parts if part["index"] == choice]
        text = "".join(part["text"] for part in own)
        names, values, offsets = (
            [entry for part in own for entry in part["logprobs"][name]]
            for name in ("tokens", "token_logprobs", "text_offset")
        )
        pieces = [data_of(name) for name in names]
        ids = random_model.tokenizer.control_tokens
        special = {name for name in ids if ids[name] in random_model.tokenizer.special_ids}
        whole = b"".join(piece for name, piece in zip(names, pieces, strict=True) if name not in special)
        if echo:
            assert text.startswith(prompt)
            assert values[0] is None
            for name, offset in zip(names, offsets, strict=True):
                assert name.startswith("bytes:") or name in special or text.startswith(name, offset)
        else:
            # The first tokens begin before the text, so their offset is its beginning.
            assert offsets[0] == 0
            assert offsets == sorted(offsets)
            assert whole.decode("utf-8", "replace").endswith(text)
        assert None not in values[1:]


def test_a_prompt_alone_is_scored_as_it_is(server):
    body = {"prompt": "Tom has 3 app", "max_tokens": 0, "echo": True, "logprobs": 1}
    assert server.ok(PATH, token_healing=True, **body)["choices"] == server.ok(PATH, **body)["choices"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": [5, 6]}, "found token ids"),
        ({"prompt": "a", "regex": "a"}, "cannot be used with schema, regex, choices or grammar"),
        ({"prompt": "a", "token_healing": "yes"}, "boolean"),
    ],
    ids=str,
)
def test_what_is_refused(server, fields, says):
    error = server.refused(PATH, {"token_healing": True, **fields}, 400)
    assert error["param"] == "token_healing"
    assert says in error["message"]


def test_chats_do_not_have_it(server):
    body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "token_healing": True}
    response = server.post("/v1/chat/completions", body)
    assert response.headers["x-qwen3cpu-ignored"] == "token_healing"
