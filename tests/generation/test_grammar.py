"""Answers that follow a schema: every one does, reasoning is free, and nothing else changes."""

import json
import threading
from typing import Literal

import checkpoints
import pytest
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.generation import grammar, token_masks

pytest.importorskip("llguidance", reason="schemas need the extra [schema]")
pydantic = pytest.importorskip("pydantic", reason="pydantic models as schemas")


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(max_length=12)
    count: int = pydantic.Field(ge=0, le=999)


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    kind: Literal["buy", "sell"]
    items: list[Item] = pydantic.Field(min_length=1, max_length=3)
    note: str | None = pydantic.Field(max_length=8)


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("random")).folder
    return qwen3cpu.load(folder, quant="f32", threads=1)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("thinking", [True, False])
def test_every_answer_follows_the_schema(tiny, seed, thinking):
    result = tiny.generate("What is 17 + 25?", schema=Order, seed=seed, thinking=thinking, temperature=1.2)
    assert result.finish_reason == "stop"
    Order.model_validate_json(result.text)


@pytest.mark.parametrize("seed", range(6))
def test_models_that_know_nothing_follow_it_too(random_model, seed):
    result = random_model.generate("Q", schema=Order.model_json_schema(), seed=seed, raw=True, thinking=False)
    Order.model_validate_json(result.text)


@pytest.mark.parametrize("seed", range(5))
def test_reasoning_is_what_it_is_without_a_schema(tiny, seed):
    free = tiny.generate("What is 17 + 25?", seed=seed)
    bound = tiny.generate("What is 17 + 25?", seed=seed, schema=Order)
    thought = free.token_ids.index(tiny.tokenizer.end_think) + 1
    assert bound.token_ids[:thought] == free.token_ids[:thought]
    assert bound.reasoning == free.reasoning != ""


@pytest.mark.parametrize("budget", [0, 3])
def test_a_thinking_budget(tiny, budget):
    result = tiny.generate("What is 17 + 25?", seed=1, schema=Order, thinking_budget=budget)
    assert result.thinking_budget_spent == (budget > 0)
    Order.model_validate_json(result.text)


def test_a_prompt_that_has_opened_the_block(tmp_path):
    """The model closes the block; the schema applies from there."""
    follows = script(["<think>", "a", "b", "</think>", "\n"])
    model = qwen3cpu.load(write_scripted(tmp_path, follows), quant="f32", threads=1)
    result = model.generate("<think>", raw=True, temperature=0, schema={"const": 7})
    assert (result.reasoning, result.text) == ("ab", "7")


def test_only_one_think_block(tmp_path):
    """Otherwise the model would open one block after another."""
    follows = script(["Q", "<think>", "a", "</think>", "<think>"])
    model = qwen3cpu.load(write_scripted(tmp_path, follows), quant="f32", threads=1)
    result = model.generate("Q", raw=True, temperature=0, schema={"const": 7})
    assert (result.reasoning, result.text) == ("a", "7")


def test_no_think_block_without_thinking(tmp_path):
    model = qwen3cpu.load(write_scripted(tmp_path, script(["Q", "<think>", "a"])), quant="f32", threads=1)
    result = model.generate("Q", raw=True, temperature=0, schema={"const": 7}, thinking=False)
    assert (result.reasoning, result.text) == ("", "7")


def test_control_tokens_are_no_text(random_model):
    """A string may contain their spelling, but never the tokens."""
    control = set(random_model.tokenizer.control_tokens.values())
    for seed in range(4):
        schema = {"type": "string", "minLength": 30, "maxLength": 60}
        result = random_model.generate("Q", schema=schema, seed=seed, temperature=3.0, top_k=0, top_p=1.0, raw=True)
        assert control.isdisjoint(result.token_ids[:-1])
        assert 30 <= len(json.loads(result.text)) <= 60


def test_log_probabilities_are_the_models_own(tiny):
    ids = tiny.answerer.encode("What is 17 + 25?", tiny.answerer.request())
    result = tiny.generate(ids, schema=Order, seed=3, logprobs=2)
    scored = tiny.score([*ids, *result.token_ids], top=2)[len(ids) - 1 :]
    assert list(result.logprobs) == scored


def test_answers_are_the_same_in_a_batch_and_streamed(tiny):
    prompts = ["What is 1 + 1?", "What is 30 + 12?", "Is 3 more than 2?"]
    together = tiny.generate_batch(prompts, schema=Order, seed=4)
    alone = [tiny.generate(prompt, schema=Order, seed=4) for prompt in prompts]
    assert [result.token_ids for result in together] == [result.token_ids for result in alone]
    streamed = list(tiny.stream(prompts[0], schema=Order, seed=4))
    assert "".join(chunk.text for chunk in streamed) == alone[0].text
    several = tiny.generate(prompts[0], schema=Order, seed=4, n=3)
    for result in several:
        Order.model_validate_json(result.text)
    assert several[0].token_ids == alone[0].token_ids


def test_a_limit_cuts_the_answer(tiny):
    result = tiny.generate("1", schema=Order, max_new_tokens=5, thinking=False)
    assert result.finish_reason == "length"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (5, "expected a JSON schema .* found int"),
        (int, "found int"),
        ({"type": "nonsense"}, "schema: .*nonsense"),
        ({"$ref": "http://example.org/x.json"}, "schema: .*example.org"),
        ({"$ref": "file:///etc/passwd"}, "schema: .*"),
        (
            {"type": "object", "properties": {"a/b": {"contains": {}, "not": {"type": "null"}}}},
            "/properties/a~1b/(not|contains)",
        ),
        ({"anyOf": [{"if": {"type": "null"}, "then": False}]}, "/anyOf/0/if: 'if' cannot be enforced"),
        (
            {"allOf": [{"type": "string"}, {"type": "null"}]},
            "no value follows it: /allOf/0: the types exclude each other",
        ),
        ({"properties": {"n": {"$ref": "#"}}, "required": ["n"]}, "requires itself endlessly"),
        ({"anyOf": []}, r"/anyOf: expected a list with a schema, found \[\]"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"properties": {"a": {"minLength": "3"}}}, '/properties/a/minLength: expected a whole number.* found "3"'),
        ({"const": {1, 2}}, "JSON can express"),
        ({"const": float("nan")}, "JSON can express"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_schemas_that_cannot_be_followed(tiny, schema, words):
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        tiny.generate("1", schema=schema)


def test_a_schema_nested_too_deeply(tiny):
    schema = {"type": "integer"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    assert tiny.answerer.request(schema=schema).grammar
    for _ in range(600):
        schema = {"not": schema}
    with pytest.raises(qwen3cpu.ArgumentError, match="at most 64 levels"):
        tiny.answerer.request(schema=schema)


FUNCTIONS = [
    {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer", "maximum": 99}}}},
    {"name": "now"},
]


def call_grammar(model, **options):
    calls = (model.tokenizer.tool_call, model.tokenizer.end_tool_call)
    return grammar.answer_grammar(None, FUNCTIONS, calls=calls, after_thinking=True, **options)


@pytest.mark.parametrize(
    ("text", "options", "accepted"),
    [
        ('<tool_call>\n{"name": "add", "arguments": {"a": 5}}\n</tool_call>', {}, True),
        ('\n\n<tool_call>\n{"name":"now","arguments":{}}\n</tool_call>', {}, True),
        ('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n' * 2, {}, True),
        ('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n' * 2, {"several": False}, False),
        ('<tool_call>\n{"name": "add", "arguments": {"a": 500}}\n</tool_call>', {}, False),
        ('<tool_call>\n{"name": "sub", "arguments": {}}\n</tool_call>', {}, False),
        ("hello", {}, False),
        ("hello", {"text": True}, True),
        ('hello\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', {"text": True}, True),
        ('hello\n<tool_call>\n{"name": "oops", "arguments": {}}\n</tool_call>', {"text": True}, False),
    ],
)
def test_the_grammar_of_calls(tiny, text, options, accepted):
    matcher = tiny.answerer.surroundings.grammars.matcher(call_grammar(tiny, **options))
    ids = tiny.tokenizer.encode(text.strip(" ").removesuffix("\n"), control_tokens=True)
    taken = all(matcher.consume_token(token) for token in ids)
    assert (taken and matcher.is_accepting()) == accepted


def test_a_grammar_is_compiled_once(tiny, monkeypatch):
    compiled = []
    real = grammar._compiled
    monkeypatch.setattr(grammar, "_compiled", lambda text, *more: compiled.append(text) or real(text, *more))
    schema = {"enum": ["once", "or", "twice"]}
    options = {"schema": schema, "thinking": False, "temperature": 9.0, "top_k": 0, "top_p": 1.0}
    texts = {tiny.generate("1", seed=seed, **options).text for seed in range(9)}
    tiny.generate_batch(["1", "2"], **options)
    assert len(compiled) == 1
    assert len(texts) > 1, "answers share nothing but the compiled beginning"


def test_no_way_on_ends_the_answer(random_model, monkeypatch):
    """A dead end that cannot be known in advance ends one answer without raising an error."""
    steps = []
    real = token_masks.Constraint.mask

    def mask(self, logits):
        steps.append(1)
        if len(steps) == 4:
            raise token_masks.DeadEndError("too many states")
        return real(self, logits)

    monkeypatch.setattr(token_masks.Constraint, "mask", mask)
    result = random_model.generate("Q", raw=True, thinking=False, schema={"type": "string"}, seed=1)
    assert (result.stopped_by, result.finish_reason, len(result.token_ids)) == ("schema", "length", 3)
    assert result.schema_errors == ("the answer ended early: too many states",)
    steps[:] = [1] * 3
    result = random_model.generate("Q", raw=True, thinking=False, schema={"type": "string"}, seed=1)
    assert (result.stopped_by, result.text, result.token_ids) == ("schema", "", ())


def test_an_answer_that_breaks_what_is_not_enforced(tmp_path):
    model = qwen3cpu.load(write_scripted(tmp_path, script(["Q", "7"])), quant="f32", threads=1)
    options = {"raw": True, "temperature": 0, "thinking": False}
    result = model.generate("Q", schema={"oneOf": [{"const": 7}, {"const": 7.0}]}, **options)
    assert (result.text, result.unenforced) == ("7", ("/oneOf",))
    (error,) = result.schema_errors
    assert "7 is valid under each of" in error
    right = model.generate("Q", schema={"anyOf": [{"const": 7}, {"const": 7.0}]}, **options)
    assert (right.text, right.unenforced, right.schema_errors) == ("7", (), ())
    assert model.generate("Q", **options, max_new_tokens=1).schema_errors is None
    cut = model.generate("Q", schema={"const": "long"}, **options, max_new_tokens=1)
    assert "not complete JSON" in cut.schema_errors[0]


def test_without_llguidance(tiny, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "llguidance", None)
    bare = grammar.Grammars(tiny.tokenizer, tiny.eos_token_ids)
    with pytest.raises(qwen3cpu.ArgumentError, match=r"qwen3cpu\[schema\]"):
        bare.matcher(grammar.Grammar("start: /a/"))


def test_a_panic_of_the_library_is_an_error_of_ours(tiny, monkeypatch):
    """A panic in Rust is not an Exception, and it would end the thread that compiles."""
    import llguidance

    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def panics(*arguments, **options):
        raise panic("index out of bounds")

    monkeypatch.setattr(llguidance, "LLMatcher", panics)
    with pytest.raises(qwen3cpu.ArgumentError, match="schema: llguidance failed: index out of bounds"):
        tiny.generate("x", schema={"const": "a text that no other test compiles"}, max_new_tokens=2)


def test_two_models_that_compile_at_once_leave_the_stacks_of_threads_alone(tiny, random_model):
    before = threading.stack_size()
    schemas = [{"const": "x" * n} for n in range(1, 9)]

    def compile_all(model):
        for schema in schemas:
            model.answerer.surroundings.grammars.prepare(grammar.answer_grammar(schema, after_thinking=False))

    threads = [threading.Thread(target=compile_all, args=[model]) for model in (tiny, random_model)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert threading.stack_size() == before
