"""Ollama's own Python client against the server, unchanged. Skipped where it is not installed."""

import asyncio
import json
import threading
import time

import httpx
import numpy as np
import pydantic
import pytest
from clocks import wait_until
from retrieval_models import write_embedding_model

import qwen3cpu

ollama = pytest.importorskip("ollama", reason="ollama is not installed (extra [clients])")

TEXT = "What is 17 + 25?"
QUESTION = [{"role": "user", "content": TEXT}]


class Distance(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    meters: int = pydantic.Field(ge=0, le=999)


def walk(fast: bool) -> str:
    """Walk.

    Args:
        fast: whether to hurry
    """
    return f"walked {fast}"


class Adding(httpx.HTTPTransport):
    """Adds fields to every body, because the model inside the package calls tools only when it must."""

    def __init__(self, **fields):
        super().__init__()
        self.fields = fields

    def handle_request(self, request):
        body = {**json.loads(request.read()), **self.fields}
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        return super().handle_request(httpx.Request(request.method, request.url, headers=headers, json=body))


@pytest.fixture(scope="module")
def client(server):
    with ollama.Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def calling(server):
    """A client whose model must call a tool, once."""
    with ollama.Client(server.url, transport=Adding(tool_choice="required", parallel_tool_calls=False)) as client:
        yield client


def test_models(client, tiny):
    (listed,) = client.list().models
    assert (listed.model, listed.size) == ("tiny:latest", tiny.weight_bytes)
    assert (listed.details.family, listed.details.parameter_size) == ("qwen3", "1.24M")
    (running,) = client.ps().models
    assert (running.name, running.context_length, running.digest) == ("tiny:latest", tiny.context, listed.digest)
    assert running.expires_at.year == 9999
    for name in ("tiny", "tiny:latest"):
        shown = client.show(name)
        assert shown.capabilities == ["completion", "tools", "thinking"]
        assert shown.modelinfo["qwen3.context_length"] == tiny.context
        assert shown.modelinfo["general.parameter_count"] == tiny.config.parameters()
        assert shown.template == tiny.chat_template


def test_chat(client, tiny):
    expected = tiny.generate(TEXT, seed=1)
    reply = client.chat("tiny", QUESTION, options={"seed": 1})
    assert (reply.message.content, reply.message.thinking) == (expected.text, expected.reasoning)
    assert (reply.model, reply.done, reply.done_reason) == ("tiny", True, "stop")
    assert reply.prompt_eval_count == expected.usage.prompt_tokens
    assert reply.eval_count == expected.usage.completion_tokens
    assert reply.total_duration >= reply.eval_duration + reply.prompt_eval_duration > 0
    assert reply.message.tool_calls is None


def test_streamed_chat(client, tiny):
    expected = tiny.generate(TEXT, seed=1)
    pieces = list(client.chat("tiny", QUESTION, options={"seed": 1}, stream=True))
    assert "".join(piece.message.content for piece in pieces) == expected.text
    assert "".join(piece.message.thinking or "" for piece in pieces) == expected.reasoning
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].eval_count == expected.usage.completion_tokens
    assert (pieces[-1].done_reason, pieces[0].done_reason) == ("stop", None)


@pytest.mark.parametrize(
    ("options", "own"),
    [
        ({"num_predict": 5}, {"max_new_tokens": 5}),
        ({"num_predict": -1}, {}),
        ({"num_predict": -2}, {}),
        ({"num_predict": 0}, {}),
        ({"num_ctx": 2048, "temperature": 1.5}, {"temperature": 1.5}),
        ({"temperature": 1.5, "top_k": 5, "top_p": 0.9}, {"temperature": 1.5, "top_k": 5, "top_p": 0.9}),
        ({"temperature": 1.5, "top_k": -1, "min_p": 0.1}, {"temperature": 1.5, "top_k": 0, "min_p": 0.1}),
        ({"typical_p": 0.3, "temperature": 2.0}, {"typical_p": 0.3, "temperature": 2.0}),
        ({"repeat_penalty": 1.4, "temperature": 1.0}, {"repetition_penalty": 1.4, "temperature": 1.0}),
        (
            {"presence_penalty": 1.0, "frequency_penalty": 0.5, "temperature": 1.0},
            {"presence_penalty": 1.0, "frequency_penalty": 0.5, "temperature": 1.0},
        ),
        ({"stop": ["2"]}, {"stop": ["2"]}),
    ],
    ids=str,
)
def test_options(client, tiny, options, own):
    expected = tiny.generate(TEXT, **{"seed": 3, **own})
    reply = client.chat("tiny", QUESTION, options={"seed": 3, **options})
    assert (reply.message.content, reply.message.thinking or "") == (expected.text, expected.reasoning)
    assert (reply.eval_count, reply.done_reason) == (expected.usage.completion_tokens, expected.finish_reason)


def test_thinking(client, tiny):
    for think, own in (
        (False, {"thinking": False}),
        (True, {"thinking": True}),
        ("low", {"thinking": True, "thinking_budget": 1024}),
    ):
        expected = tiny.generate(TEXT, seed=1, **own)
        reply = client.chat("tiny", QUESTION, think=think, options={"seed": 1})
        assert (reply.message.content, reply.message.thinking or "") == (expected.text, expected.reasoning)
    # The client sends the reasoning of an earlier turn back under the same name.
    after = [*QUESTION, client.chat("tiny", QUESTION, options={"seed": 1}).message, *QUESTION]
    own = [*QUESTION, tiny.generate(TEXT, seed=1).to_message(), *QUESTION]
    assert client.chat("tiny", after, options={"seed": 1}).message.content == tiny.generate(own, seed=1).text


def test_formats(client, tiny):
    reply = client.chat("tiny", QUESTION, format=Distance.model_json_schema(), options={"seed": 1})
    assert reply.message.content == tiny.generate(TEXT, seed=1, schema=Distance).text
    Distance.model_validate_json(reply.message.content)
    reply = client.generate("tiny", TEXT, format="json", options={"seed": 1, "num_predict": 400})
    assert reply.response.startswith("{")


def test_tools(client, calling, tiny):
    reply = calling.chat("tiny", QUESTION, tools=[walk], options={"seed": 1})
    (call,) = reply.message.tool_calls
    assert call.function.name == "walk"
    assert [type(value) for value in call.function.arguments.values()] == [bool]
    assert reply.done_reason == "stop"
    # The conversation continues with the result.
    result = {"role": "tool", "tool_name": "walk", "content": walk(**call.function.arguments)}
    reply = client.chat("tiny", [*QUESTION, reply.message, result], tools=[walk], options={"seed": 1})
    called = {"role": "assistant", "tool_calls": [call.model_dump()], "content": ""}
    thought = tiny.generate(
        QUESTION, seed=1, tools=[walk_schema()], tool_choice="required", parallel_tool_calls=False
    ).reasoning
    own = tiny.generate([*QUESTION, {**called, "thinking": thought}, result], tools=[walk_schema()], seed=1)
    assert reply.message.content == own.text
    assert reply.prompt_eval_count == own.usage.prompt_tokens


def walk_schema():
    """The tool as the client describes it."""
    from ollama._utils import convert_function_to_tool

    return convert_function_to_tool(walk).model_dump(exclude_none=True)


def test_streamed_tools(calling):
    whole = calling.chat("tiny", QUESTION, tools=[walk], options={"seed": 1})
    pieces = list(calling.chat("tiny", QUESTION, tools=[walk], options={"seed": 1}, stream=True))
    calls = [call for piece in pieces for call in piece.message.tool_calls or ()]
    assert calls == list(whole.message.tool_calls)
    assert not any(piece.message.content for piece in pieces)


def test_generate(client, tiny):
    expected = tiny.generate(TEXT, seed=1)
    reply = client.generate("tiny", TEXT, options={"seed": 1})
    assert (reply.response, reply.thinking, reply.done_reason) == (expected.text, expected.reasoning, "stop")
    pieces = list(client.generate("tiny", TEXT, options={"seed": 1}, stream=True))
    assert "".join(piece.response for piece in pieces) == expected.text
    assert "".join(piece.thinking or "" for piece in pieces) == expected.reasoning
    assert pieces[-1].context == reply.context
    messages = [{"role": "system", "content": "Be brief"}, *QUESTION]
    reply = client.generate("tiny", TEXT, system="Be brief", options={"seed": 1})
    assert reply.prompt_eval_count == tiny.generate(messages, seed=1).usage.prompt_tokens


def test_generate_goes_on_from_a_context(client, tiny):
    first = client.generate("tiny", TEXT, options={"seed": 1})
    expected = tiny.generate(TEXT, seed=1)
    prompt = tiny.tokenizer.encode(tiny.render(QUESTION), control_tokens=True)
    assert list(first.context) == [*prompt, *expected.token_ids]
    second = client.generate("tiny", "What is 1 + 2?", context=first.context, options={"seed": 1})
    turn = tiny.render([{"role": "user", "content": "What is 1 + 2?"}])
    ids = [*first.context, *tiny.tokenizer.encode("\n" + turn, control_tokens=True)]
    assert second.response == tiny.generate(ids, seed=1).text
    assert list(second.context[: len(ids)]) == ids


def test_raw_prompts(client, tiny):
    prompt = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"
    for given in ("2 + 2", prompt):
        expected = tiny.generate(given, raw=True, seed=3, max_new_tokens=30)
        reply = client.generate("tiny", given, raw=True, options={"seed": 3, "num_predict": 30})
        assert (reply.response, reply.thinking or "") == (expected.text, expected.reasoning)
        assert reply.context is None


def test_log_probabilities(client, tiny):
    reply = client.chat("tiny", QUESTION, options={"seed": 1}, logprobs=True, top_logprobs=2)
    assert "".join(entry.token for entry in reply.logprobs) == "42."
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in reply.logprobs)
    streamed = client.generate("tiny", TEXT, options={"seed": 1}, logprobs=True, stream=True)
    entries = [entry for piece in streamed for entry in piece.logprobs or ()]
    assert [entry.logprob for entry in entries] == [entry.logprob for entry in reply.logprobs]
    assert [entry.top_logprobs for entry in entries] == [None] * 3


def test_a_prompt_that_is_missing_loads_the_model(client):
    for reply in (client.chat("tiny"), client.generate("tiny", keep_alive=-1), client.generate("tiny", "")):
        assert (reply.done, reply.done_reason) == (True, "load")
    assert [piece.done for piece in client.generate("tiny", "", stream=True)] == [True]
    assert client.chat("tiny").message.content == client.generate("tiny").response == ""


def test_errors(client):
    with pytest.raises(ollama.ResponseError, match="'gpt' is not here") as refusal:
        client.chat("gpt", QUESTION)
    assert refusal.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match=r"options\.temperature must be"):
        client.chat("tiny", QUESTION, options={"temperature": -1})
    with pytest.raises(ollama.ResponseError, match="is not here"):
        list(client.chat("gpt", QUESTION, stream=True))
    with pytest.raises(ollama.ResponseError, match=r"messages\[0\]\.images: not supported"):
        client.chat("tiny", [{"role": "user", "content": "What is it?", "images": [b"abc"]}])
    with pytest.raises(ollama.ResponseError, match="images: not supported"):
        client.generate("tiny", "What is it?", images=[b"abc"])
    for call in (client.pull, client.delete):
        with pytest.raises(ollama.ResponseError, match="--manage-models") as refusal:
            call("qwen3")
        assert refusal.value.status_code == 403
    with pytest.raises(ollama.ResponseError, match="not an embedding model"):
        client.embed("tiny", "a")


def test_an_error_in_a_stream(serve, random_model):
    server = serve(random_model, timeout=0.5)
    with ollama.Client(server.url) as client:
        stream = client.generate("tiny", "go", raw=True, stream=True, options={"seed": 1, "num_predict": 490})
        # A step takes as long as the request may take.
        server.scheduler._batch.advance = slowly(server.scheduler._batch.advance, 0.6)
        with pytest.raises(ollama.ResponseError, match="took longer than"):
            list(stream)


def slowly(step, seconds):
    """A step that takes longer."""

    def advance():
        time.sleep(seconds)
        return step()

    return advance


def test_a_client_that_goes_away_ends_its_answer(serve, tiny):
    server = serve(tiny)
    steps, advance = threading.Semaphore(20), server.scheduler._batch.advance
    server.scheduler._batch.advance = lambda: steps.acquire() and advance()
    with ollama.Client(server.url, transport=Adding(ignore_eos=True)) as client:
        stream = client.chat("tiny", QUESTION, stream=True, options={"seed": 1})
        next(stream)
        (job,) = server.scheduler._jobs.values()
        stream.close()
        wait_until(server, lambda: job.cancelled)
        steps.release(100)
        wait_until(server, lambda: server.scheduler.running == 0)
    assert server.scheduler.stats.jobs == {"cancelled": 1}


def test_an_async_client_beside_others(server):
    async def ask(client, seed):
        return (await client.chat("tiny", QUESTION, options={"seed": seed, "temperature": 1.5})).message.content

    async def ask_all():
        async with ollama.AsyncClient(server.url) as client:
            together = await asyncio.gather(*(ask(client, seed) for seed in range(12)))
            return together, [await ask(client, seed) for seed in range(12)]

    together, alone = asyncio.run(ask_all())
    assert together == alone


def test_a_key(serve, tiny):
    server = serve(tiny, api_key="s3cret")
    with ollama.Client(server.url) as client, pytest.raises(ollama.ResponseError) as refusal:
        client.list()
    assert refusal.value.status_code == 401
    with ollama.Client(server.url, headers={"Authorization": "Bearer s3cret"}) as client:
        assert client.list().models


def test_vectors(serve, tmp_path):
    write_embedding_model(tmp_path / "model", max_position_embeddings=512)
    model = qwen3cpu.load(tmp_path / "model", quant="q8", threads=1)
    texts = ["the sky is blue", "", "世界 é 👋🏽"]
    with ollama.Client(serve(model, model_name="vectors").url) as client:
        reply = client.embed("vectors", texts)
        assert (np.array(reply.embeddings, np.float32) == model.embed(texts)).all()
        assert reply.prompt_eval_count == sum(len(model.tokenizer.encode(text)) + 1 for text in texts)
        assert reply.total_duration >= reply.load_duration > 0
        one = client.embed("vectors:latest", texts[0], dimensions=9)
        assert (np.array(one.embeddings, np.float32) == model.embed(texts[:1], dimensions=9)).all()
        assert client.embed("vectors", []).embeddings == client.embed("vectors", "").embeddings == []
        old = client.embeddings("vectors", texts[0])
        assert (np.array(old.embedding, np.float32) == model.embed(texts[0], normalize=False)).all()
        assert client.embeddings("vectors", "").embedding == []
        many = [f"number {place}" for place in range(200)]
        assert (np.array(client.embed("vectors", many).embeddings, np.float32) == model.embed(many)).all()
        # Long texts are cut unless that is forbidden.
        cut = client.embed("vectors", "number " * 5000)
        assert (np.array(cut.embeddings, np.float32) == model.embed(["number " * 5000], truncate=True)).all()
        with pytest.raises(ollama.ResponseError, match="input: expected at most 511 tokens"):
            client.embed("vectors", "number " * 5000, truncate=False)
        assert client.show("vectors").capabilities == ["embedding"]
        with pytest.raises(ollama.ResponseError, match="expected a request to /v1/embeddings or /api/embed"):
            client.chat("vectors", QUESTION)
