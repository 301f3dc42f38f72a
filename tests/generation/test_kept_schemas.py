"""Schemas of requests are kept for the next request, up to a number of bytes."""

import gc
import json
import sys
import types

import pytest

import qwen3cpu
from qwen3cpu.generation import grammar
from qwen3cpu.generation.schemas import probing
from qwen3cpu.text import patterns, tool_calls
from qwen3cpu.text.memo import Remembered
from qwen3cpu.text.pattern_syntax import UncheckedPatternError
from qwen3cpu.text.patterns import Budget, search
from qwen3cpu.text.schemas import tools as schema_tools
from qwen3cpu.text.schemas.tools import with_checkable_parameters

pytest.importorskip("llguidance", reason="schemas need the extra [schema]")

FUNCTIONS = [
    probing._problem,
    probing._goes_on,
    grammar._narrowed,
    schema_tools._checkable,
    patterns._program,
    tool_calls._checkers,
]

OWNERS = {"builtins", "collections", "functools", "qwen3cpu", "re", "jsonschema", "referencing", "rpds", "llguidance"}
"""The packages whose objects are counted."""


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


def python_bytes(value):
    """Bytes of all Python objects that a value holds, except for classes and modules, which are shared."""
    total, seen, left = 0, set(), [value]
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, (type, types.ModuleType, types.CodeType, types.BuiltinFunctionType)):
            continue
        # Objects of other libraries are not followed, because one of them may lead to every loaded module.
        if type(value).__module__.partition(".")[0] not in OWNERS:
            continue
        seen.add(id(value))
        total += sys.getsizeof(value)
        if isinstance(value, types.FunctionType):
            left += [*(value.__closure__ or ()), *(value.__defaults__ or ())]
        else:
            left += gc.get_referents(value)
    return total


def enum(number):
    """A schema of half a megabyte."""
    return {"enum": [f"{number} {word} {'x' * 60_000}" for word in range(8)]}


def nested(number):
    """A schema whose form in memory is twenty times its text."""
    return {"title": str(number), "default": [[]] * 50_000, "examples": [{"a": 0}] * 20_000}


def patterned(number):
    return {"type": "object", "patternProperties": {"^" + "ab" * 1000 + f"{number}": {"type": "null"}}}


def many_names(number):
    names = {f"{name} {'y' * 60_000}": {} for name in range(number, number + 8)}
    return {"properties": names, "required": ["z" * 200_000], "patternProperties": {"^[0-9]": {}}}


@pytest.mark.heavy
def test_large_schemas_of_which_none_comes_twice(tiny):
    for number in range(12):
        tiny.answerer.check_grammar(grammar.answer_grammar(enum(number), after_thinking=False))
        grammar.answer_grammar(patterned(number), after_thinking=False)
        grammar.answer_grammar(many_names(number), after_thinking=False)
    for number in range(6):
        tools = [{"name": "f", "parameters": {**nested(number), "type": "object"}}]
        tool_calls.argument_validators(with_checkable_parameters(tools))
    for number in range(2):
        characters = "".join(map(chr, range(10_000, 13_000)))
        search(f"^a{{{8000 + number}}}$|^[{characters}]{number}", "a", Budget(10_000))
    memos = [*(function.memo for function in FUNCTIONS), tiny.answerer.surroundings.grammars._compiled]
    for memo in memos:
        assert memo.bytes_held > memo.most_bytes // 2  # it was filled
    for memo in memos:
        assert memo.bytes_held <= memo.most_bytes
        assert python_bytes(memo.items()) <= memo.bytes_held


def test_these_are_all_that_remember():
    """Fails when a new function keeps results, so that it is tested here too."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("qwen3cpu.")]
    found = {value for module in modules for value in vars(module).values() if type(value) is Remembered}
    assert found == set(FUNCTIONS)


def test_a_request_that_comes_again_finds_what_was_made_for_it(tiny, monkeypatch):
    schema = {"properties": {"again": {"type": "string", "pattern": "^a+$"}}, "required": ["again"]}
    tools = [{"name": "f", "parameters": schema}]
    first = grammar.answer_grammar(schema, after_thinking=False)
    tiny.answerer.check_grammar(first)
    checkers = tool_calls.argument_validators(with_checkable_parameters(tools))
    monkeypatch.setattr(grammar, "_compiled", lambda *_: pytest.fail("it was compiled"))
    monkeypatch.setattr(probing, "_matcher", lambda *_: pytest.fail("the engine was asked"))
    second = grammar.answer_grammar(json.loads(json.dumps(schema)), after_thinking=False)
    tiny.answerer.check_grammar(second)
    assert second.matcher is first.matcher
    assert tool_calls.argument_validators(with_checkable_parameters(tools)) == checkers


def test_one_long_expression_is_not_made_into_any_number_of_states():
    """States of look-around count as well, and a repeated class is made once."""
    with pytest.raises(UncheckedPatternError, match="more than 20000 states"):
        search("(?=a{19000})" * 100, "a", Budget(10_000))
    characters = "".join(map(chr, range(10_000, 20_000, 2)))
    search(f"[{characters}]{{0,1000}}", "a", Budget(10_000))
    for (pattern,), (_, states) in patterns._program.memo.items():
        if pattern.endswith("{0,1000}"):
            assert states == 5000 + 2001
