"""The grammar of a schema with several types takes a value of each of these types and of no other."""

import itertools
import json

import jsonschema
import pytest

import qwen3cpu
from qwen3cpu.generation import grammar
from qwen3cpu.generation.schemas.pruning import pruned

pytest.importorskip("llguidance", reason="schemas need the extra [schema]")

VALUES = {
    "null": [None],
    "boolean": [True, False],
    "integer": [3, -1],
    "number": [2.5],
    "string": ["a", ""],
    "array": [[], [1]],
    "object": [{}, {"a": 1}],
}
ENDLESS = {"type": "object", "properties": {"next": {"$ref": "#/$defs/0"}}, "required": ["next"]}
LIST = {"type": "array", "items": {"$ref": "#/$defs/0"}, "minItems": 1}


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


@pytest.mark.parametrize(
    "types", [*itertools.combinations(VALUES, 1), *itertools.combinations(VALUES, 2), tuple(VALUES)], ids=" ".join
)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in an object"])
def test_each_of_the_types_and_no_other(tiny, types, inside):
    schema = {"type": list(types)}
    if inside:
        schema = {"properties": {"a": schema}, "required": ["a"], "type": "object"}
    made = grammar.answer_grammar(schema, after_thinking=False)
    for value in itertools.chain(*VALUES.values()):
        value = {"a": value} if inside else value
        matcher = tiny.answerer.surroundings.grammars.matcher(made)
        ids = tiny.tokenizer.encode(json.dumps(value))
        accepted = all(matcher.consume_token(token) for token in ids) and matcher.is_accepting()
        assert accepted is jsonschema.Draft202012Validator(schema).is_valid(value), value


@pytest.mark.parametrize(
    ("schema", "left"),
    [
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"type": "string", "minLength": 1}, {"type": "string", "minLength": 1}),
        ({**ENDLESS, "type": ["object", "string", "null"]}, {"type": ["string", "null"]}),
        ({**ENDLESS, "type": ["object", "string"]}, {"type": "string"}),
        ({**LIST, "type": ["array", "object", "null"]}, {"type": ["object", "null"]}),
        (ENDLESS, False),
        (LIST, False),
        ({"anyOf": [ENDLESS, {"type": ["string", "null"]}]}, {"type": ["string", "null"]}),
    ],
    ids=str,
)
def test_pruning_takes_the_types_out_that_no_finite_value_has(schema, left):
    found, definitions = pruned(schema, {"0": ENDLESS})
    assert definitions == {}
    shown = found if found is False else {word: found[word] for word in ("type", "minLength") if word in found}
    assert shown == left
