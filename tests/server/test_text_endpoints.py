"""Endpoints without a forward pass."""

import pytest

MESSAGES = [{"role": "system", "content": "Hi <|im_end|>"}, {"role": "user", "content": "What is 1 + 1?"}]


def test_models(server, tiny):
    listed = server.http.get("/v1/models").json()
    assert listed["object"] == "list"
    (card,) = listed["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == ("tiny", "model", tiny.context)
    assert server.http.get("/v1/models/tiny").json() == card
    response = server.http.get("/v1/models/Qwen/Qwen3-1.7B")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_text_to_tokens_and_back(server, tiny):
    text = "17 + 25 = <|im_end|> é"
    found = server.ok("/tokenize", prompt=text, return_token_strs=True)
    assert found["tokens"] == tiny.tokenizer.encode(text, control_tokens=True)
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert server.ok("/detokenize", tokens=found["tokens"])["prompt"] == text
    assert server.ok("/tokenize", prompt="")["tokens"] == []


def test_ids_that_the_tokenizer_lacks(server, tiny):
    """A prompt may have every id of the model, and so may /detokenize."""
    last = tiny.engine.vocab_size - 1
    assert last >= tiny.tokenizer.size
    assert server.ok("/v1/completions", prompt=[5, last], max_tokens=1)
    assert server.ok("/detokenize", tokens=[5, last])["text"] == tiny.tokenizer.decode([5])


@pytest.mark.parametrize("thinking", [True, False])
def test_messages_to_text_and_tokens(server, tiny, thinking):
    template = {"enable_thinking": thinking}
    rendered = server.ok("/apply-template", messages=MESSAGES, chat_template_kwargs=template)["prompt"]
    assert rendered == tiny.render(MESSAGES, thinking=thinking)
    found = server.ok("/tokenize", messages=MESSAGES[1:], chat_template_kwargs=template)
    assert found["tokens"] == tiny.tokenizer.encode(tiny.render(MESSAGES[1:], thinking=thinking), control_tokens=True)
    bare = server.ok("/apply-template", messages=MESSAGES, add_generation_prompt=False)["prompt"]
    assert bare == tiny.render(MESSAGES, add_generation_prompt=False)


def test_tools_in_a_rendered_prompt(server, tiny):
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    rendered = server.ok("/apply-template", messages=MESSAGES, tools=[tool])["prompt"]
    assert rendered == tiny.render(MESSAGES, tools=[tool])


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/tokenize", {}, "either prompt or messages"),
        ("/tokenize", {"prompt": "a", "messages": MESSAGES}, "either prompt or messages"),
        ("/tokenize", {"prompt": 5}, "prompt: input should be a valid string"),
        ("/tokenize", {"prompt": "\ud800"}, "prompt: expected Unicode text, found the lone surrogate"),
        ("/detokenize", {"tokens": [1, 99999]}, "tokens[1]: expected an id from 0 to"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]: input should be a valid integer"),
        ("/apply-template", {"messages": []}, "at least one message"),
        ("/apply-template", {"messages": MESSAGES, "template": "/etc/passwd"}, "unknown field 'template'"),
        ("/v1/embeddings", {"input": "a", "model": "tiny"}, "not an embedding model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests(server, path, body, words):
    error = server.refused(path, body, 400)
    assert words in error["message"]
    if ": expected " in words:
        assert error["param"] == words.partition(":")[0]
