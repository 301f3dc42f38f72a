"""`tool_choice` and `parallel_tool_calls` of generate, stream, chat and run."""

import pytest
from dictation import dictate
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.generation.tool_choice import tool_use

pytest.importorskip("llguidance", reason="forced calls need the extra [schema]")

TOOLS = [
    {
        "name": name,
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["a"],
            "additionalProperties": False,
        },
    }
    for name in ("add", "sub")
]
QUESTION = "What is 17 + 25?"


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


def test_required_in_every_way_to_ask(tiny):
    options = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "seed": 1}
    result = tiny.generate(QUESTION, **options)
    (call,) = result.tool_calls
    assert call.name in ("add", "sub")
    assert 0 <= call.arguments["a"] <= 99
    *_, chunk = tiny.stream(QUESTION, **options)
    assert chunk.result.tool_calls == result.tool_calls
    assert tiny.chat(**options).send(QUESTION).tool_calls == result.tool_calls
    assert [each.tool_calls for each in tiny.generate_batch([QUESTION] * 2, **options)] == [result.tool_calls] * 2


@pytest.mark.parametrize("choice", ["sub", {"name": "sub"}, {"type": "function", "function": {"name": "sub"}}])
def test_one_tool_by_name(tiny, choice):
    result = tiny.generate(QUESTION, tools=TOOLS, tool_choice=choice, seed=1, thinking=False)
    assert [call.name for call in result.tool_calls] == ["sub"]


def test_a_schema_and_tools_leave_the_model_the_choice(tiny):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    results = [tiny.generate(QUESTION, tools=TOOLS, schema=schema, seed=seed, thinking=False) for seed in range(3)]
    assert all(bool(result.tool_calls) is not bool(result.text) for result in results)
    called = tiny.generate(QUESTION, tools=TOOLS, schema=schema, tool_choice="add", seed=1, thinking=False)
    assert [call.name for call in called.tool_calls] == ["add"]


def test_none_hides_the_tools_and_bans_the_token(tmp_path):
    """A model that always begins a call."""
    folder = write_scripted(
        tmp_path, script(["\n", "<tool_call>", "{", "}", "</tool_call>"]), max_position_embeddings=4096
    )
    model = qwen3cpu.load(folder, quant="f32", threads=1)
    options = {"tools": TOOLS, "temperature": 0, "max_new_tokens": 4, "logit_bias": {5: -1}}
    called = model.generate("x", **options)
    assert called.malformed_calls, "{} is not a call of a function"
    free = model.generate("x", tool_choice="none", **options)
    assert not free.malformed_calls
    assert model.tokenizer.tool_call not in free.token_ids
    assert free.usage.prompt_tokens == model.generate("x", max_new_tokens=1).usage.prompt_tokens


def test_strict_is_not_shown_to_the_model(tiny):
    plain = tiny.generate(QUESTION, tools=TOOLS, seed=1)
    strict = tiny.generate(QUESTION, tools=[{**tool, "strict": True} for tool in TOOLS], seed=1)
    assert (strict.text, strict.usage.prompt_tokens) == (plain.text, plain.usage.prompt_tokens)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tool_choice": "mul"}, "expected one of 'auto', 'none', 'required', 'add', 'sub', found 'mul'"),
        ({"tool_choice": {"name": "auto"}}, "expected one of"),
        ({"tool_choice": {"function": 3}}, "expected one of"),
        ({"tool_choice": 7}, "expected one of .*, found 7"),
        ({"tool_choice": ["add"]}, "expected one of"),
        ({"tool_choice": "required", "tools": None}, "expected tools with 'required', found none"),
        ({"tool_choice": "required", "tools": []}, "expected tools with 'required', found none"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls: expected True or False, found 1"),
    ],
    ids=str,
)
def test_what_is_not_allowed(tiny, options, words):
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        tiny.generate(QUESTION, **{"tools": TOOLS, **options})


@pytest.mark.parametrize("choice", ["required", "third"])
def test_a_schema_is_named_by_the_place_of_its_tool(tiny, choice):
    bad = {"name": "third", "parameters": {"properties": {"a": {"required": 7}}}}
    problem = "/properties/a/required: expected a list of names, found 7"
    for third, place in ((bad, "tools[2].parameters"), ({"function": bad}, "tools[2].function.parameters")):
        with pytest.raises(qwen3cpu.ArgumentError) as found:
            tiny.generate("x", tools=[*TOOLS, third], tool_choice=choice)
        assert str(found.value) == f"{place}: {problem}"


def test_a_model_without_tokens_for_calls():
    assert tool_use(TOOLS, "auto", False).grammar_arguments(None, None) is None
    with pytest.raises(qwen3cpu.ArgumentError, match="tool_choice: the model has no tokens for calls"):
        tool_use(TOOLS, "required", None).grammar_arguments(None, None)


def test_run_requires_a_call_of_its_first_step(monkeypatch, tiny):
    asked = []
    request = tiny.answerer.request

    def recorded(prompt, **options):
        asked.append(request(prompt, **options))
        return asked[-1]

    monkeypatch.setattr(tiny.answerer, "request", recorded)
    call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    dictate(monkeypatch, tiny, call, "It is 12.")
    found = tiny.run("x", tools=[now], tool_choice="required", parallel_tool_calls=True, thinking=False, seed=1)
    assert (found.text, found.stopped_by) == ("It is 12.", "answer")
    assert [each.grammar is not None for each in asked] == [True, False]


def now() -> int:
    """The time."""
    return 12
