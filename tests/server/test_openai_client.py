"""OpenAI's own Python client against the server, unchanged."""

import json

import openai
import pydantic
import pytest

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]


class Distance(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    meters: int = pydantic.Field(ge=0, le=999)


TOOL = {"type": "function", "function": {"name": "walk", "parameters": Distance.model_json_schema(), "strict": True}}


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "qwen3cpu"


def test_chat(client, tiny):
    reply = client.chat.completions.create(model="tiny", messages=QUESTION, seed=1)
    expected = tiny.generate("What is 17 + 25?", seed=1)
    message = reply.choices[0].message
    assert message.content == expected.text == "42."
    assert message.reasoning_content == expected.reasoning
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens == expected.usage.completion_tokens
    assert reply.usage.completion_tokens_details.reasoning_tokens == expected.usage.reasoning_tokens
    assert reply.usage.prompt_tokens_details.cached_tokens >= 0


def test_streamed_chat(client, tiny):
    stream = client.chat.completions.create(
        model="tiny", messages=QUESTION, seed=1, stream=True, stream_options={"include_usage": True}
    )
    content, reasoning, usage = "", "", None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
    expected = tiny.generate("What is 17 + 25?", seed=1)
    assert (content, reasoning) == (expected.text, expected.reasoning)
    assert usage.total_tokens == expected.usage.total_tokens


def test_options_that_are_not_openais(client, tiny):
    extra = {"top_k": 5, "min_p": 0.01, "chat_template_kwargs": {"enable_thinking": False}}
    reply = client.chat.completions.create(model="tiny", messages=QUESTION, seed=2, temperature=1.0, extra_body=extra)
    expected = tiny.generate("What is 17 + 25?", seed=2, temperature=1.0, top_k=5, min_p=0.01, thinking=False)
    assert reply.choices[0].message.content == expected.text


def test_tools(client):
    reply = client.chat.completions.create(
        model="tiny", messages=QUESTION, seed=1, tools=[TOOL], tool_choice="required", parallel_tool_calls=False
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = reply.choices[0].message.tool_calls
    assert call.function.name == "walk"
    Distance.model_validate_json(call.function.arguments)
    # The conversation continues with the result.
    after = [*QUESTION, reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    assert client.chat.completions.create(model="tiny", messages=after, seed=1, tools=[TOOL]).choices


def test_streamed_tools(client):
    with client.chat.completions.stream(
        model="tiny", messages=QUESTION, seed=1, tools=[TOOL], tool_choice="required", parallel_tool_calls=False
    ) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, dict)
    Distance.model_validate(call.function.parsed_arguments)


def test_parsed_schema(client, tiny):
    reply = client.chat.completions.parse(model="tiny", messages=QUESTION, seed=1, response_format=Distance)
    parsed = reply.choices[0].message.parsed
    assert isinstance(parsed, Distance)
    expected = tiny.generate("What is 17 + 25?", seed=1, schema=Distance)
    assert parsed == Distance.model_validate_json(expected.text)


def test_log_probabilities(client):
    reply = client.chat.completions.create(model="tiny", messages=QUESTION, seed=1, logprobs=True, top_logprobs=2)
    content = reply.choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == "42."
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in content)


def test_completions(client, tiny):
    reply = client.completions.create(model="tiny", prompt="2 + 2", max_tokens=8, seed=3, echo=True, logprobs=1)
    expected = tiny.generate("2 + 2", raw=True, seed=3, max_new_tokens=8)
    assert reply.choices[0].text == "2 + 2" + tiny.tokenizer.decode(expected.token_ids)
    assert reply.choices[0].logprobs.token_logprobs[0] is None
    pieces = client.completions.create(model="tiny", prompt="2 + 2", max_tokens=8, seed=3, stream=True)
    text = "".join(choice.text for piece in pieces for choice in piece.choices)
    assert text == tiny.tokenizer.decode(expected.token_ids)


def test_responses(client, tiny):
    reply = client.responses.create(model="tiny", input="What is 17 + 25?", extra_body={"seed": 1})
    assert reply.output_text == tiny.generate("What is 17 + 25?", seed=1).text
    assert [item.type for item in reply.output] == ["reasoning", "message"]
    assert reply.usage.total_tokens > 0


def test_streamed_responses(client):
    with client.responses.stream(model="tiny", input="What is 17 + 25?", extra_body={"seed": 1}) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == "42."


def test_parsed_responses_and_tools(client):
    reply = client.responses.parse(model="tiny", input="What is 17 + 25?", text_format=Distance, extra_body={"seed": 1})
    assert isinstance(reply.output_parsed, Distance)
    tool = {"type": "function", "name": "walk", "parameters": Distance.model_json_schema(), "strict": True}
    reply = client.responses.create(
        model="tiny", input="Walk", tools=[tool], tool_choice="required", parallel_tool_calls=False
    )
    call = next(item for item in reply.output if item.type == "function_call")
    Distance.model_validate(json.loads(call.arguments))
    after = [{"role": "user", "content": "Walk"}, *reply.output]
    after.append({"type": "function_call_output", "call_id": call.call_id, "output": "done"})
    assert client.responses.create(model="tiny", input=after, tools=[tool]).status == "completed"


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError, match="is not here"):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="temperature must be") as refusal:
        client.chat.completions.create(model="tiny", messages=QUESTION, temperature=-1)
    assert refusal.value.code == "invalid_value"
    with pytest.raises(openai.BadRequestError, match="not an embedding model"):
        client.embeddings.create(model="tiny", input="a")


def test_an_async_client(server):
    import asyncio

    async def ask(client, seed):
        reply = await client.chat.completions.create(model="tiny", messages=QUESTION, seed=seed, temperature=1.5)
        return reply.choices[0].message.content

    async def ask_all():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            together = await asyncio.gather(*(ask(client, seed) for seed in range(12)))
            return together, [await ask(client, seed) for seed in range(12)]

    together, alone = asyncio.run(ask_all())
    assert together == alone
