"""Model.run: calls are made in a loop, and the model gets the results and errors of functions."""

import dataclasses
import enum
import json

import checkpoints
import pydantic
import pytest
from dictation import dictate

import qwen3cpu
from qwen3cpu.generation.grammar import answer_grammar


class Unit(enum.Enum):
    CELSIUS = "C"
    KELVIN = "K"


class Place(pydantic.BaseModel):
    city: str
    floor: int = 0


def weather(city: str, unit: Unit = Unit.CELSIUS) -> dict[str, object]:
    """The weather.

    Args:
        city: where
        unit: of the temperature
    """
    return {"city": city, "unit": unit.name}


def visit(place: Place) -> Place:
    """Go there."""
    return place


def fail(code: int) -> None:
    """It always fails."""
    raise LookupError(f"no code {code!r} \ud800")


TOOLS = [weather, visit, fail]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=8192).folder
    return qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0)


def written(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def test_calls_are_made_until_there_is_an_answer(monkeypatch, model):
    first = (
        "<think>\nhm\n</think>\n\n" + written("weather", city="Bern") + "\n" + written("weather", city="X", unit="K")
    )
    second = written("visit", place={"city": "Bern"}) + written("fail", code=3.0)
    dictate(monkeypatch, model, first, second, "Sunny.")
    run = model.run("How is it?", tools=TOOLS, seed=1)
    assert (run.text, run.stopped_by, len(run.steps)) == ("Sunny.", "answer", 3)
    assert [message["role"] for message in run.messages] == [
        "user",
        "assistant",
        *["tool"] * 2,
        "assistant",
        *["tool"] * 2,
        "assistant",
    ]
    assert [message["content"] for message in run.messages if message["role"] == "tool"] == [
        '{"city": "Bern", "unit": "CELSIUS"}',
        '{"city": "X", "unit": "KELVIN"}',
        '{"city":"Bern","floor":0}',
        "Error: LookupError: no code 3 ?",
    ]
    ids = [call["id"] for message in run.messages for call in message.get("tool_calls", ())]
    assert ids == [message["tool_call_id"] for message in run.messages if message["role"] == "tool"]
    assert run.messages[1]["reasoning_content"] == "hm"
    assert run.steps[1].usage.cached_tokens >= run.steps[0].usage.prompt_tokens
    assert model.engine.native.kv_blocks_in_use() == 0
    # The last prompt is the template's rendering of these messages.
    shown = model.answerer.encode(run.messages[:-1], model.answerer.request(run.messages[:-1], tools=TOOLS))
    assert run.steps[2].usage.prompt_tokens == len(shown)


def test_a_malformed_call_goes_back_with_its_reason(monkeypatch, model):
    dictate(monkeypatch, model, written("weather", town="Bern"), written("snow"), "Sorry.")
    run = model.run([{"role": "user", "content": "x"}], tools=TOOLS, seed=1)
    assert run.text == "Sorry."
    told = [message["content"] for message in run.messages if message["role"] == "tool"]
    assert told[0].startswith("Error: arguments: 'city' is a required property")
    assert told[1].startswith("Error: name: expected one of the tools (fail, visit, weather)")


def test_an_unknown_argument_is_an_error_of_the_call(monkeypatch, model):
    dictate(monkeypatch, model, written("weather", city="Bern", when="now"), "Sorry.")
    run = model.run("x", tools=TOOLS, seed=1)
    assert run.messages[2]["content"] == "Error: TypeError: weather() has no parameter 'when'"


@pytest.mark.parametrize("max_steps", [1, 2, 3])
def test_the_limit_of_steps(monkeypatch, model, max_steps):
    made = []

    def note(step: int) -> str:
        """Note a step."""
        made.append(step)
        return "noted"

    dictate(monkeypatch, model, *(written("note", step=step) for step in range(9)))
    run = model.run("x", tools=[note], max_steps=max_steps, seed=1)
    assert (run.stopped_by, len(run.steps)) == ("max_steps", max_steps)
    assert made == list(range(max_steps - 1)), "a call whose result is not used is not made"
    assert run.messages[-1]["tool_calls"][0]["function"] == {"name": "note", "arguments": {"step": max_steps - 1}}


def test_the_embedded_model_makes_calls(monkeypatch):
    """It is not trained on tools. A grammar allows only a call, and the model chooses the numbers."""
    pytest.importorskip("llguidance")
    tiny = qwen3cpu.load("tiny")
    request = tiny.answerer.request
    number = {"type": "integer", "minimum": 0, "maximum": 99}
    schema = {"type": "object", "properties": {"a": number}, "required": ["a"], "additionalProperties": False}
    calls = (tiny.tokenizer.tool_call, tiny.tokenizer.end_tool_call)
    tools = [{"name": "double", "parameters": schema}]
    grammar = answer_grammar(None, tools, calls=calls, several=False, after_thinking=True)

    def forced(messages, **options):
        made = request(messages, **options)
        return made if messages[-1]["role"] == "tool" else dataclasses.replace(made, grammar=grammar)

    doubled = []

    def double(a: int) -> int:
        """Twice a number."""
        doubled.append(a)
        return 2 * a

    monkeypatch.setattr(tiny.answerer, "request", forced)
    run = tiny.run("What is 17 + 25?", tools=[double], seed=1, max_new_tokens=300)
    assert run.messages[1]["tool_calls"][0]["function"] == {"name": "double", "arguments": {"a": doubled[0]}}
    assert run.messages[2]["content"] == str(2 * doubled[0])
    assert (len(run.steps), run.stopped_by) == (2, "answer")


def test_interrupting_a_function_leaves_nothing_behind(monkeypatch, model):
    def interrupt() -> None:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    dictate(monkeypatch, model, written("interrupt"))
    with pytest.raises(KeyboardInterrupt):
        model.run("x", tools=[interrupt], seed=1)
    assert model.engine.native.kv_blocks_in_use() == 0


async def coroutine() -> None:
    """Must not be called."""


@pytest.mark.parametrize(
    ("tools", "options", "words"),
    [
        ([{"name": "f"}], {}, r"tools\[0\]: expected a function that run can call, found dict"),
        ([weather, coroutine], {}, r"tools\[1\]: expected a function, found a coroutine function"),
        ("weather", {}, "tools: expected a list of functions, found str"),
        ([weather], {"max_steps": 0}, "max_steps: expected a whole number of at least 1, found 0"),
        ([weather], {"n": 2}, "n: expected None, because a step has one answer, found 2"),
    ],
)
def test_bad_arguments(model, tools, options, words):
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        model.run("x", tools=tools, **options)
