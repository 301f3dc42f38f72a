"""Anthropic's own Python client against the server, unchanged. Skipped where it is not installed."""

import asyncio
import threading

import pydantic
import pytest
from clocks import wait_until

anthropic = pytest.importorskip("anthropic", reason="anthropic is not installed (extra [clients])")

TEXT = "What is 17 + 25?"
QUESTION = [{"role": "user", "content": TEXT}]
SEED = {"seed": 1}
THINKING = {"type": "enabled", "budget_tokens": 1024}


class Distance(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    fast: bool


TOOL = {"name": "walk", "description": "Walk.", "input_schema": Distance.model_json_schema()}
OTHER = {**TOOL, "name": "drive"}
SHOWN = [
    {"type": "function", "function": {"name": name, "description": "Walk.", "parameters": TOOL["input_schema"]}}
    for name in ("walk", "drive")
]


@pytest.fixture(scope="module")
def client(server):
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def create(client, messages=QUESTION, **options):
    """A message of the model. The client has no arguments for some fields of the API."""
    options.setdefault("max_tokens", 2000)
    more = {name: options.pop(name) for name in ("temperature", "top_k", "top_p") if name in options}
    return client.messages.create(model="tiny", messages=messages, extra_body={"seed": 1, **more}, **options)


def kinds(message):
    return [block.type for block in message.content]


def test_a_message(client, tiny):
    expected = tiny.generate(TEXT, seed=1, thinking=False)
    message = create(client)
    assert [block.text for block in message.content] == [expected.text]
    assert (message.role, message.model, message.type) == ("assistant", "tiny", "message")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    usage = message.usage
    assert usage.output_tokens == expected.usage.completion_tokens
    assert usage.input_tokens + usage.cache_read_input_tokens == expected.usage.prompt_tokens
    assert usage.output_tokens_details.thinking_tokens == expected.usage.reasoning_tokens


def test_thinking(client, tiny):
    expected = tiny.generate(TEXT, seed=1, thinking=True)
    for thinking in (THINKING, {"type": "adaptive"}):
        message = create(client, thinking=thinking)
        assert kinds(message) == ["thinking", "text"]
        assert message.content[0].thinking == expected.reasoning
        assert message.content[0].signature
        assert message.content[1].text == expected.text
    assert kinds(create(client, thinking={"type": "disabled"})) == ["text"]
    # The client sends the blocks back unchanged.
    after = [*QUESTION, {"role": "assistant", "content": message.content}, *QUESTION]
    own = [*QUESTION, expected.to_message(), *QUESTION]
    assert create(client, after, thinking=THINKING).content[1].text == tiny.generate(own, seed=1, thinking=True).text


def test_a_budget(client, tiny):
    expected = tiny.generate(TEXT, seed=1, thinking=True, thinking_budget=3, max_new_tokens=200)
    message = create(client, thinking={"type": "enabled", "budget_tokens": 3}, max_tokens=200)
    assert message.content[0].thinking == expected.reasoning
    assert message.content[-1].text == expected.text
    assert expected.thinking_closed_by == "budget"


@pytest.mark.parametrize(
    ("options", "own", "reason"),
    [
        ({"max_tokens": 1}, {"max_new_tokens": 1}, "max_tokens"),
        ({"stop_sequences": ["2", "9"]}, {"stop": ["2", "9"]}, "stop_sequence"),
        ({"temperature": 1.5, "top_k": 5, "top_p": 0.9}, {"temperature": 1.5, "top_k": 5, "top_p": 0.9}, "end_turn"),
        ({"system": "Be brief."}, {}, "end_turn"),
        ({"system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]}, {}, "end_turn"),
    ],
    ids=str,
)
def test_options(client, tiny, options, own, reason):
    system = {str: "Be brief.", list: "Be\nbrief.", type(None): None}[type(options.get("system"))]
    prompt = [*([{"role": "system", "content": system}] if system else []), *QUESTION]
    expected = tiny.generate(prompt, seed=1, thinking=False, **own)
    message = create(client, **options)
    assert "".join(block.text for block in message.content) == expected.text
    assert (message.stop_reason, message.stop_sequence) == (reason, "2" if reason == "stop_sequence" else None)
    assert message.usage.output_tokens == expected.usage.completion_tokens


def test_a_full_context(serve, random_model):
    server = serve(random_model)
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        message = client.messages.create(
            model="tiny", messages=QUESTION, max_tokens=5000, extra_body={"seed": 1, "ignore_eos": True}
        )
    assert message.stop_reason == "model_context_window_exceeded"


def test_streams(client, tiny):
    expected = tiny.generate(TEXT, seed=1, thinking=True)
    with client.messages.stream(
        model="tiny", messages=QUESTION, max_tokens=2000, thinking=THINKING, extra_body=SEED
    ) as stream:
        seen = [event.type for event in stream]
        final = stream.get_final_message()
    assert (final.content[0].thinking, final.content[1].text) == (expected.reasoning, expected.text)
    assert final.to_dict(exclude_none=True)["content"] == create(client, thinking=THINKING).to_dict()["content"]
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == expected.usage.completion_tokens
    assert final.usage.input_tokens + final.usage.cache_read_input_tokens == expected.usage.prompt_tokens
    assert seen[:2] == ["message_start", "content_block_start"]
    assert seen[-2:] == ["message_delta", "message_stop"]
    assert seen.count("content_block_stop") == 2
    with client.messages.stream(model="tiny", messages=QUESTION, max_tokens=2000, extra_body=SEED) as stream:
        assert "".join(stream.text_stream) == tiny.generate(TEXT, seed=1, thinking=False).text


def test_the_order_of_events(client):
    events = list(create(client, thinking=THINKING, stream=True))
    told = []
    for event in events:
        kind = event.delta.type if event.type == "content_block_delta" else event.type
        if not told or told[-1] != kind:
            told.append(kind)
    assert told == [
        *("message_start", "content_block_start", "thinking_delta", "signature_delta", "content_block_stop"),
        *("content_block_start", "text_delta", "content_block_stop", "message_delta", "message_stop"),
    ]
    assert events[0].message.content == []
    assert [event.index for event in events if event.type == "content_block_start"] == [0, 1]


@pytest.mark.parametrize("thinking", [{"type": "disabled"}, THINKING])
def test_tools(client, tiny, thinking):
    options = {"tools": [TOOL, OTHER], "thinking": thinking}
    choice = {"type": "any", "disable_parallel_tool_use": True}
    message = create(client, tool_choice=choice, **options)
    assert message.stop_reason == "tool_use"
    assert kinds(message) == [*(["thinking"] if thinking is THINKING else []), "tool_use"]
    call = message.content[-1]
    assert call.id.startswith("toolu_")
    Distance.model_validate(call.input)
    # The conversation continues with the result, as in Python.
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "walked"}]}
    after = [
        *QUESTION,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]},
    ]
    called = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.input}}
    own = [
        *QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": call.id, "content": "walked"},
        {"role": "user", "content": "Go on."},
    ]
    if thinking is THINKING:
        own[1]["reasoning_content"] = message.content[0].thinking
    expected = tiny.generate(own, seed=1, tools=SHOWN, thinking=thinking is THINKING, max_new_tokens=2000)
    reply = create(client, after, **options)
    assert reply.content[-1].text == expected.text
    usage = reply.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == expected.usage.prompt_tokens


def test_one_tool_of_several(client):
    for name in ("walk", "drive"):
        message = create(client, tools=[TOOL, OTHER], tool_choice={"type": "tool", "name": name})
        assert [block.name for block in message.content] == [name]
    plain = create(client)
    assert create(client, tools=[TOOL], tool_choice={"type": "none"}).content == plain.content
    auto = {"type": "auto", "disable_parallel_tool_use": True}
    assert create(client, tools=[TOOL], tool_choice=auto).content == create(client, tools=[TOOL]).content


def test_streamed_tools(client):
    options = {"tools": [TOOL], "tool_choice": {"type": "any"}}
    whole = create(client, **options)
    with client.messages.stream(model="tiny", messages=QUESTION, max_tokens=2000, extra_body=SEED, **options) as stream:
        final = stream.get_final_message()
    assert [block.input for block in final.content] == [block.input for block in whole.content]
    assert final.stop_reason == whole.stop_reason


def test_structured_output(client, tiny):
    message = client.messages.parse(
        model="tiny", messages=QUESTION, max_tokens=2000, output_format=Distance, extra_body=SEED
    )
    assert isinstance(message.parsed_output, Distance)
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    expected = tiny.generate(TEXT, seed=1, schema=schema, thinking=False)
    reply = create(client, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert reply.content[0].text == expected.text


def test_an_answer_goes_on_with_the_assistants_last_message(client, tiny):
    expected = tiny.generate(TEXT, thinking=False, temperature=0).text
    messages = [*QUESTION, {"role": "assistant", "content": expected[:1]}]
    for thinking in ({"type": "disabled"}, THINKING):
        assert create(client, messages, temperature=0, thinking=thinking).content[0].text == expected[1:]


def test_counting_tokens(client, tiny):
    options = {"system": "Be brief.", "tools": [TOOL]}
    messages = [{"role": "system", "content": "Be brief."}, *QUESTION]
    counted = client.messages.count_tokens(model="tiny", messages=QUESTION, **options).input_tokens
    assert counted == tiny.generate(messages, seed=1, tools=SHOWN[:1], thinking=False).usage.prompt_tokens
    # A prompt that does not fit is counted too.
    long = client.messages.count_tokens(model="tiny", messages=[{"role": "user", "content": "river " * 9000}])
    rendered = tiny.render([{"role": "user", "content": "river " * 9000}], thinking=False)
    assert long.input_tokens == len(tiny.tokenizer.encode(rendered, control_tokens=True)) > tiny.context


def test_errors(client):
    with pytest.raises(anthropic.NotFoundError, match="'claude' is not here") as refusal:
        client.messages.create(model="claude", max_tokens=5, messages=QUESTION)
    assert refusal.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="temperature must be") as refusal:
        create(client, temperature=-1)
    assert refusal.value.type == "invalid_request_error"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]: expected text"):
        create(client, [{"role": "user", "content": [image]}])
    with pytest.raises(anthropic.BadRequestError, match="the prompt has"):
        create(client, [{"role": "user", "content": "a" * 9000}])
    with pytest.raises(anthropic.BadRequestError, match=r"expected less than max_tokens \(50\), found 1024"):
        create(client, thinking=THINKING, max_tokens=50)


def test_an_error_in_a_stream(serve, tiny, monkeypatch):
    server = serve(tiny)

    def fail(batch):
        raise MemoryError("of 7 bytes")

    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        with monkeypatch.context() as patch:
            patch.setattr(tiny.engine, "forward", fail)
            with pytest.raises(anthropic.APIStatusError) as error:
                list(create(client, stream=True))
        assert error.value.type == "api_error"
        assert create(client).stop_reason == "end_turn"


def test_a_client_that_goes_away_ends_its_answer(serve, tiny):
    server = serve(tiny)
    steps, advance = threading.Semaphore(20), server.scheduler._batch.advance
    server.scheduler._batch.advance = lambda: steps.acquire() and advance()
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        with client.messages.stream(
            model="tiny", messages=QUESTION, max_tokens=2000, extra_body={"ignore_eos": True}
        ) as stream:
            next(stream.text_stream)
            (job,) = server.scheduler._jobs.values()
        wait_until(server, lambda: job.cancelled)
        steps.release(100)
        wait_until(server, lambda: server.scheduler.running == 0)
    assert server.scheduler.stats.jobs == {"cancelled": 1}


def test_keys(serve, tiny):
    server = serve(tiny, api_key="s3cret")
    for options, known in (
        ({"api_key": "s3cret"}, True),
        ({"api_key": None, "auth_token": "s3cret"}, True),
        ({"api_key": "wrong", "default_headers": {"authorization": "Bearer s3cret"}}, True),
        ({"api_key": "wrong"}, False),
    ):
        with anthropic.Anthropic(base_url=server.url, max_retries=0, **options) as client:
            if known:
                assert create(client).content
            else:
                with pytest.raises(anthropic.AuthenticationError, match="x-api-key") as refusal:
                    create(client)
                assert refusal.value.type == "authentication_error"


def test_an_async_client_beside_others(server):
    async def ask(client, seed):
        message = await client.messages.create(
            model="tiny", messages=QUESTION, max_tokens=500, extra_body={"seed": seed, "temperature": 1.5}
        )
        return [block.text for block in message.content]

    async def ask_all():
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as client:
            together = await asyncio.gather(*(ask(client, seed) for seed in range(12)))
            return together, [await ask(client, seed) for seed in range(12)]

    together, alone = asyncio.run(ask_all())
    assert together == alone
