"""Schemas for the grammar: references, merging, closed objects, loosened keywords, and no dead ends."""

import json

import pytest

import qwen3cpu
from qwen3cpu.generation import grammar

pytest.importorskip("llguidance", reason="schemas need the extra [schema]")

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
TREE = {
    "type": "object",
    "properties": {"v": {"type": "boolean"}, "c": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["v"],
}


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


def accepts(model, made, text):
    matcher = model.answerer.surroundings.grammars.matcher(made)
    ids = model.tokenizer.encode(text, control_tokens=True)
    return all(matcher.consume_token(token) for token in ids) and matcher.is_accepting()


def follows(model, schema, value):
    made = grammar.answer_grammar(schema, after_thinking=False)
    return accepts(model, made, json.dumps(value, ensure_ascii=False))


def call_of(model, parameters, arguments, **options):
    calls = (model.tokenizer.tool_call, model.tokenizer.end_tool_call)
    functions = [{"name": "f", "parameters": parameters}]
    made = grammar.answer_grammar(None, functions, calls=calls, after_thinking=False, **options)
    return accepts(model, made, f'<tool_call>\n{{"name": "f", "arguments": {json.dumps(arguments)}}}\n</tool_call>')


@pytest.mark.parametrize(
    ("parameters", "arguments", "accepted"),
    [
        ({**POINT, "$defs": {"P": POINT}, "properties": {"x": {"$ref": "#/$defs/P"}}}, {"x": {"x": 1}}, True),
        ({**POINT, "$defs": {"P": POINT}, "properties": {"x": {"$ref": "#/$defs/P"}}}, {"x": 1}, False),
        (TREE, {"v": True, "c": {"v": False, "c": None}}, True),
        (TREE, {"v": True, "c": {"name": "f", "arguments": {"v": True}}}, False),
        ({"definitions": {"P": POINT}, "properties": {"p": {"$ref": "#/definitions/P"}}}, {"p": {"x": 1}}, True),
        ({"properties": {"a": POINT, "b": {"$ref": "#/properties/a"}}}, {"b": {"x": 1}}, True),
        ({"$defs": {"P": {"$anchor": "p", **POINT}}, "properties": {"p": {"$ref": "#p"}}}, {"p": {"x": 1}}, True),
        (
            {"$id": "http://a.b/c", "$defs": {"P": {"$id": "p", **POINT}}, "properties": {"p": {"$ref": "p"}}},
            {"p": {}},
            False,
        ),
        ({}, {}, True),
        ({}, 5, False),
        ({"description": "anything"}, [1], False),
        ({"properties": {"x": {}}}, {"x": 1}, True),
        ({"properties": {"x": {}}}, 7, False),
    ],
)
def test_parameters_of_a_call_are_an_object_with_references_of_their_own(tiny, parameters, arguments, accepted):
    assert call_of(tiny, parameters, arguments) is accepted


def test_parameters_that_no_grammar_can_be_made_of(tiny):
    """If the model may also write text, the arguments are free. If it has to call, the error names the place."""
    wrong = {"properties": {"a": {"type": "text"}}}
    assert call_of(tiny, wrong, {"a": 1}, text=True)
    assert not call_of(tiny, wrong, 1, text=True)
    with pytest.raises(qwen3cpu.ArgumentError, match=r"^tools.parameters: /properties/a/type: expected one of"):
        call_of(tiny, wrong, {"a": 1})


AB = {"a": {"type": "integer"}, "b": {"type": "integer"}}
PATTERNED = {"patternProperties": {"^x": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "inside", "outside"),
    [
        ({"properties": AB}, {"a": 1}, {"z": 1}),
        ({"properties": AB, "additionalProperties": True}, {"a": 1, "z": 1}, {"a": "x"}),
        ({"properties": AB, "additionalProperties": {"type": "null"}}, {"a": 1, "z": None}, {"a": 1, "z": 1}),
        ({"properties": AB, **PATTERNED}, {"a": 1, "xy": 1}, {"a": 1, "z": 1}),
        ({"properties": AB, "unevaluatedProperties": True}, {"z": 1}, {"a": "x"}),
        ({"type": "object"}, {"z": [1]}, []),
        ({"type": "object", "additionalProperties": {"type": "null"}}, {"z": None}, {"z": 1}),
        (
            {"allOf": [{"properties": {"a": AB["a"]}}, {"properties": {"b": AB["b"]}}]},
            {"a": 1, "b": 1},
            {"a": 1, "z": 1},
        ),
        (
            {"$defs": {"A": {"properties": {"a": AB["a"]}}}, "$ref": "#/$defs/A", "properties": {"b": AB["b"]}},
            {"a": 1, "b": 1},
            {"z": 1},
        ),
        ({"properties": AB, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"b": 1}, {}),
        ({"allOf": [{"properties": AB}, {"additionalProperties": True}]}, {"z": 1}, {"a": "x"}),
        ({"properties": {"a": AB["a"]}, "required": ["b"]}, {"a": 1, "b": 2}, {"a": 1}),
        ({"properties": {"a": {"required": True}, "b": {}}}, {"a": 1}, {"b": 1}),
        ({"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}}, {"b": 1}, {"c": 1}),
        ({"propertyNames": {"pattern": "^k"}, "additionalProperties": {"type": "integer"}}, {"k1": 1}, {"j": 1}),
        (
            {"properties": {"a": {"type": ["integer", "string"]}}, "patternProperties": {"^a$": {"type": "string"}}},
            {"a": "x"},
            {"a": 1},
        ),
        (
            {
                "properties": {"a": True},
                "patternProperties": {"^a$": {"type": "string"}},
                "additionalProperties": False,
            },
            {"a": "x"},
            {"a": 1},
        ),
        ({"items": {"type": "integer"}, "allOf": [{"items": {"minimum": 3}}, {"maxItems": 2}]}, [3, 4], [1]),
        ({"prefixItems": [{"type": "integer"}], "items": {"type": "null"}}, [1, None], [1, 1]),
        ({"items": [{"type": "integer"}], "additionalItems": False}, [1], [1, 1]),
        ({"prefixItems": [{"type": "integer"}], "unevaluatedItems": False}, [1], [1, 1]),
        ({"minimum": 5, "exclusiveMinimum": True}, 6, 5),
        ({"divisibleBy": 7}, 14, 15),
        ({"type": "integer", "allOf": [{"multipleOf": 4}, {"multipleOf": 6}]}, 12, 18),
        ({"type": ["string", {"properties": {"a": {"type": "null"}}}]}, {"a": None}, {"a": 1}),
        ({"extends": {"type": "integer"}, "minimum": 3}, 4, "4"),
        ({"type": "string", "nullable": True, "enum": ["a"]}, None, "b"),
        ({"type": "any", "minLength": 2}, "ab", "a"),
        ({"minLength": 2.0, "maxLength": 2.0}, "ab", "abc"),
        ({"allOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "a-b", "a"),
        ({"pattern": r"^[\w\-\/]+\cI?$"}, "a-/", "!"),
        ({"pattern": r"^\p{L}+$"}, "äö", "1"),
        ({"pattern": r"^[^]{2}$"}, "a\n", "a"),
        ({"pattern": r"^\uD83D\uDE00\/$"}, "\U0001f600/", "x"),
        ({"format": "uuid4"}, "12345678-1234-4123-8123-1234567890ab", "12345678-1234-1123-8123-1234567890ab"),
        ({"enum": [1, "a", None, 2.5], "type": ["number", "null"]}, 2.5, "a"),
        ({"enum": [1, 5, 9], "minimum": 3}, 5, 1),
        ({"enum": [1.0, True]}, 1, False),
        ({"const": None}, None, 1),
        ({"anyOf": [{"not": {}}, {"type": "null"}]}, None, 1),
        ({"properties": {"n": {"$recursiveRef": "#"}}}, {"n": {"n": {}}}, {"n": 1}),
        ({"$defs": {"n": {"$dynamicAnchor": "n", "type": "null"}}, "$dynamicRef": "#n"}, None, 1),
        ({"properties": {"a": None, "b": {"type": "null", "enum": None}}, "required": None}, {"a": 1}, {"b": 1}),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_what_a_schema_means(tiny, schema, inside, outside):
    assert follows(tiny, schema, inside)
    assert not follows(tiny, schema, outside)


@pytest.mark.parametrize(
    ("schema", "loosened"),
    [
        (
            {"type": "string", "format": "no-such-format", "title": 5, "default": {}, "examples": 1, "x-y": None},
            ["/format"],
        ),
        ({"items": {"uniqueItems": True, "items": {}}}, ["/items/uniqueItems"]),
        ({"uniqueItems": False}, []),
        ({"type": "object", "propertyNames": {"maxLength": 3}}, ["/propertyNames"]),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, ["/oneOf"]),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, []),
        ({"oneOf": [{"properties": {"k": {"const": k}}, "required": ["k"]} for k in "ab"]}, []),
        ({"oneOf": [{"minimum": 3}, {"minLength": 3}]}, ["/oneOf"]),
        ({"pattern": "^(?=a)b"}, ["/pattern"]),
        ({"pattern": r"\bword\b"}, ["/pattern"]),
        ({"pattern": r"(a)\1"}, ["/pattern"]),
        ({"pattern": "["}, ["/pattern"]),
        ({"pattern": "^(.{0,1000}){0,1000}x$"}, ["/pattern"]),
        ({"pattern": "^(.{0,30}){0,30}x$"}, []),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, ["/minimum"]),
        ({"type": "number", "maximum": 1e300}, ["/maximum"]),
        ({"type": "integer", "multipleOf": 1000003}, ["/multipleOf"]),
        ({"maxLength": 2**40}, ["/maxLength"]),
        ({"properties": AB, "minProperties": 2}, ["/minProperties"]),
        ({"properties": AB, "required": ["a"], "minProperties": 1}, []),
        ({"patternProperties": {"^a": {}, "b$": {}}}, ["/patternProperties"]),
        ({"patternProperties": {f"^(a|b){{{i}}}$": {} for i in range(250)}}, ["/patternProperties"]),
        (
            {"allOf": [{"anyOf": [{"type": "integer", "minimum": i}] * 20} for i in range(3)]},
            ["/allOf/1/anyOf", "/allOf/2/anyOf"],
        ),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_what_is_loosened_is_named(tiny, schema, loosened):
    made = grammar.answer_grammar(schema, after_thinking=False)
    assert list(made.unenforced) == loosened
    tiny.answerer.check_grammar(made)
