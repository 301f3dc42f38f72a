"""LiteLLM, instructor and outlines against the server, unchanged. Skipped where they are not installed.

They need older versions of rich and jiter than other libraries of the tests, so .ci/night runs them in a separate
environment, with the extra [structured-clients].
"""

import json
from typing import Literal

import openai
import pydantic
import pytest

# Warnings of these libraries are ignored.
pytestmark = pytest.mark.filterwarnings("ignore")

QUESTION = "What is 17 + 25?"
MESSAGES = [{"role": "user", "content": QUESTION}]
SAMPLING = {"seed": 1, "temperature": 0.6}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}


class Sum(pydantic.BaseModel):
    """A sum."""

    value: int


def imported(name, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it downloads a table of prices
    return pytest.importorskip(name, reason=f"{name} is not installed (extra [structured-clients])")


@pytest.fixture
def ask(server, monkeypatch):
    """A chat completion of LiteLLM."""
    litellm = imported("litellm", monkeypatch)

    def ask(provider="openai", path="/v1", **options):
        address = {"model": f"{provider}/tiny", "api_base": server.url + path, "api_key": "none"}
        return litellm.completion(**address, **{"messages": MESSAGES, "max_tokens": 400, **SAMPLING, **options})

    ask.litellm = litellm
    return ask


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_litellm_answers_and_streams(ask, tiny):
    expected = tiny.generate(QUESTION, **SAMPLING)
    message = ask().choices[0].message
    assert (message.content, message.reasoning_content) == (expected.text, expected.reasoning)
    deltas = [chunk.choices[0].delta for chunk in ask(stream=True)]
    assert "".join(delta.content or "" for delta in deltas) == expected.text


def test_litellm_through_the_apis_of_other_servers(ask, tiny):
    expected = tiny.generate(QUESTION, **SAMPLING).text
    assert ask("hosted_vllm").choices[0].message.content == expected
    assert ask("ollama_chat", "").choices[0].message.content == expected
    # Anthropic's API has no seed.
    greedy = ask("anthropic", "", seed=None, temperature=0).choices[0].message.content
    assert greedy == tiny.generate(QUESTION, temperature=0, thinking=False).text


def test_litellm_calls_tools_and_follows_a_schema(ask):
    call = ask(tools=[ADD], tool_choice="required").choices[0].message.tool_calls[0].function
    assert call.name == "add"
    assert set(json.loads(call.arguments)) == {"a", "b"}
    Sum.model_validate_json(ask(response_format=Sum).choices[0].message.content)


def test_litellm_reports_what_is_wrong(ask):
    with pytest.raises(ask.litellm.BadRequestError, match="the context holds 4096 positions"):
        ask(messages=[{"role": "user", "content": "x " * 9000}])


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"])
def test_instructor_gets_an_object(client, monkeypatch, mode):
    instructor = imported("instructor", monkeypatch)
    patched = instructor.from_openai(client, mode=instructor.Mode[mode])
    options = {"model": "tiny", "response_model": Sum, "messages": MESSAGES, "max_retries": 0, **SAMPLING}
    assert isinstance(patched.chat.completions.create(**options), Sum)
    *_, last = patched.chat.completions.create_partial(**options)
    Sum.model_validate(last.model_dump())


def test_outlines_gets_every_form(client, monkeypatch):
    outlines = imported("outlines", monkeypatch)
    model = outlines.from_openai(client, "tiny")
    Sum.model_validate_json(model(QUESTION, Sum, **SAMPLING))
    model = outlines.from_vllm(client, "tiny")
    Sum.model_validate_json(model(QUESTION, Sum, **SAMPLING))
    assert model(QUESTION, Literal["yes", "no"], **SAMPLING) in ("yes", "no")
    assert model(QUESTION, outlines.regex("[0-9]{2}"), **SAMPLING).isdecimal()
    assert model(QUESTION, outlines.types.CFG('start: "a" | "b"'), **SAMPLING) in ("a", "b")
