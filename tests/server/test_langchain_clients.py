"""LangChain's classes for Ollama and Anthropic against the server, unchanged. Skipped where they are not installed."""

import importlib

import numpy as np
import pydantic
import pytest
from retrieval_models import write_embedding_model

import qwen3cpu

QUESTION = "What is 17 + 25?"


class Walk(pydantic.BaseModel):
    """Walk."""

    model_config = pydantic.ConfigDict(extra="forbid")
    fast: bool


@pytest.fixture(scope="module")
def of_ollama(server):
    """A chat model of LangChain that speaks to Ollama's API."""
    module = pytest.importorskip("langchain_ollama", reason="langchain-ollama is not installed (extra [clients])")
    chat = module.ChatOllama(base_url=server.url, model="tiny", seed=1, temperature=0.6, validate_model_on_init=True)
    yield chat
    chat._client.close()  # nothing else closes its connections


@pytest.fixture(scope="module")
def of_anthropic(server):
    """A chat model of LangChain that speaks to Anthropic's API."""
    module = pytest.importorskip("langchain_anthropic", reason="langchain-anthropic is not installed (extra [clients])")
    chat = module.ChatAnthropic(
        base_url=server.url,
        api_key="none",
        model="tiny",
        max_tokens=2000,
        max_retries=0,
        model_kwargs={"extra_body": {"seed": 1}},
    )
    yield chat
    chat._client.close()


def test_ollama_answers_and_streams(of_ollama, tiny):
    expected = tiny.generate(QUESTION, seed=1, temperature=0.6)
    reply = of_ollama.invoke(QUESTION)
    assert reply.content == expected.text
    assert reply.usage_metadata["output_tokens"] == expected.usage.completion_tokens
    assert reply.response_metadata["done_reason"] == "stop"
    assert "".join(chunk.content for chunk in of_ollama.stream(QUESTION)) == expected.text
    thinking = of_ollama.model_copy(update={"reasoning": True}).invoke(QUESTION)
    assert thinking.additional_kwargs["reasoning_content"] == expected.reasoning


def test_ollama_gets_structured_output(of_ollama):
    assert isinstance(of_ollama.with_structured_output(Walk, method="json_schema").invoke(QUESTION), Walk)


def test_ollama_makes_vectors(serve, tmp_path):
    module = pytest.importorskip("langchain_ollama", reason="langchain-ollama is not installed (extra [clients])")
    write_embedding_model(tmp_path / "model", max_position_embeddings=512)
    model = qwen3cpu.load(tmp_path / "model", quant="q8", threads=1)
    embeddings = module.OllamaEmbeddings(base_url=serve(model).url, model="tiny")
    texts = ["the sky is blue", "世界"]
    assert (np.array(embeddings.embed_documents(texts), np.float32) == model.embed(texts)).all()
    embeddings._client.close()


def test_anthropic_answers_and_streams(of_anthropic, tiny):
    expected = tiny.generate(QUESTION, seed=1, thinking=False)
    reply = of_anthropic.invoke(QUESTION)
    assert reply.content == expected.text
    assert reply.usage_metadata["output_tokens"] == expected.usage.completion_tokens
    assert reply.usage_metadata["input_tokens"] == expected.usage.prompt_tokens
    assert "".join(chunk.text for chunk in of_anthropic.stream(QUESTION)) == expected.text
    asked = importlib.import_module("langchain_core.messages").HumanMessage(QUESTION)
    assert of_anthropic.get_num_tokens_from_messages([asked]) == expected.usage.prompt_tokens


def test_anthropic_calls_tools(of_anthropic):
    bound = of_anthropic.bind_tools([Walk], tool_choice="Walk")
    reply = bound.invoke(QUESTION)
    (call,) = reply.tool_calls
    assert call["name"] == "Walk"
    Walk.model_validate(call["args"])
    result = {"role": "tool", "tool_call_id": call["id"], "content": "walked"}
    assert of_anthropic.bind_tools([Walk]).invoke([("user", QUESTION), reply, result]).content
    assert isinstance(of_anthropic.with_structured_output(Walk, method="json_schema").invoke(QUESTION), Walk)
