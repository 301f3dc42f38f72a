"""Checking values: what the library says, but bounded, wherever a schema has its patterns."""

import itertools

import jsonschema
import pytest

import qwen3cpu
from qwen3cpu.text.schema_validator import SchemaChecker
from qwen3cpu.text.tool_calls import CallReader, MalformedCall, argument_validators

DRAFTS = [f"http://json-schema.org/draft-0{number}/schema#" for number in (3, 4, 6, 7)] + [
    f"https://json-schema.org/draft/{year}/schema" for year in ("2019-09", "2020-12")
]
EVIL, LONG = "^(a+)+$", "a" * 2000 + "!"


def check(schema, value):
    return SchemaChecker(schema, "schema").check(value, "value")


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"pattern": EVIL}, LONG, "does not match"),
        ({"patternProperties": {EVIL: {"type": "string"}}, "additionalProperties": False}, {LONG: 1}, "of the regexes"),
        ({"patternProperties": {EVIL: {"type": "string"}}}, {"aaa": 1}, "value.aaa: 1 is not of type 'string'"),
        ({"additionalProperties": {"type": "null"}, "patternProperties": {EVIL: {}}}, {LONG: 1}, "not of type 'null'"),
        ({"properties": {"p": {"$schema": DRAFTS[3], "pattern": EVIL}}}, {"p": LONG}, "value.p: "),
        ({"items": {"pattern": EVIL}}, ["a", LONG], "value[1]: "),
    ],
)
def test_patterns_are_bounded_in_every_draft_and_place(draft, schema, value, words):
    findings = check({"$schema": draft, **schema}, value)
    assert words in findings.problem
    assert findings.unchecked == ()


@pytest.mark.parametrize("draft", DRAFTS[4:])
def test_unevaluated_properties(draft):
    closed = {"$schema": draft, "properties": {"a": {}}, "unevaluatedProperties": False}
    assert "Unevaluated properties" in check(closed, {"b": 1}).problem
    findings = check({**closed, "patternProperties": {EVIL: {}}}, {LONG: 1})
    assert findings.problem is None
    assert findings.unchecked == ("unevaluatedProperties: cannot be checked beside patternProperties",)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
            {"x1": 1},
            {"x1": 1, "y": 2},
        ),
        ({"additionalProperties": {"type": "integer"}, "properties": {"a": {}}}, {"a": "b", "c": 1}, {"c": "d"}),
        ({"propertyNames": {"pattern": "^[a-z]+$"}}, {"abc": 1}, {"A": 1}),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "ab", "aa"),
        ({"pattern": "^a"}, 7, "b"),
    ],
)
def test_findings_are_those_of_the_library(schema, good, bad):
    assert check(schema, good).problem is None
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(bad))
    assert check(schema, bad).problem.endswith(f": {error.message}")


def test_what_cannot_be_checked_is_named_and_lets_values_pass():
    schema = {
        "properties": {"a": {"pattern": r"(x)\1"}},
        "patternProperties": {r"(y)\1": {}},
        "additionalProperties": False,
    }
    findings = check(schema, {"a": "q", "yy": 1})
    assert findings.problem is None
    assert len(findings.unchecked) == 2
    assert all("groupref cannot be checked" in reason for reason in findings.unchecked)


def test_a_schema_that_is_exponentially_large():
    names = [f"d{number}" for number in range(40)]
    definitions = {name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in itertools.pairwise(names)}
    findings = check({"$defs": {**definitions, names[-1]: {"type": "string"}}, "$ref": "#/$defs/d0"}, "x")
    assert findings.problem == "value: cannot be checked: the schema takes more than 100000 steps"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {
            "allOf": [{"$ref": "#/$defs/a"}],
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
        },
        {"not": {"$ref": "#"}},
        {"$dynamicAnchor": "x", "oneOf": [{"$dynamicRef": "#x"}]},
    ],
)
def test_references_without_an_end(schema):
    assert check(schema, {"a": 1}).problem == (
        "value: cannot be checked: the schema applies more than 140 keywords inside each other"
    )


@pytest.mark.parametrize("keyword", ["unevaluatedProperties", "unevaluatedItems"])
@pytest.mark.parametrize("value", [{"a": 1}, [1]])
def test_references_without_an_end_beside_unevaluated(keyword, value):
    for schema in ({keyword: False, "$ref": "#"}, {keyword: False, "allOf": [{"$ref": "#"}]}):
        assert check(schema, value).problem.startswith("value: cannot be checked: ")


def test_deep_values_are_checked():
    schema = {"$defs": {"t": {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}, "n": {"type": "null"}}}}}
    value = {"n": 1}
    for _ in range(62):
        value = {"t": value}
    assert check({**schema, "$ref": "#/$defs/t"}, value).problem.endswith(".t.t.n: 1 is not of type 'null'")


@pytest.mark.parametrize("schema", [{"type": "text"}, {"pattern": 1}, [], {"required": "a"}])
def test_no_schema(schema):
    with pytest.raises(qwen3cpu.ArgumentError, match="schema"):
        check(schema, 1)


def test_deep_schemas_are_an_error_of_ours():
    schema = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(qwen3cpu.ArgumentError, match="schema: expected less nesting"):
        check(schema, 1)


def test_calls_say_what_was_not_checked():
    def reader(pattern):
        parameters = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
        return CallReader(argument_validators([{"name": "f", "parameters": parameters}]))

    (call,) = reader(r"(x)\1").read('{"name": "f", "arguments": {"a": "y"}}')
    assert "groupref cannot be checked" in call.unchecked[0]
    malformed = reader(EVIL).read('{"name": "f", "arguments": {"a": "' + "a" * 26 + '!"}}')
    assert isinstance(malformed, MalformedCall)
    assert malformed.reason.endswith("does not match '^(a+)+$'")
    (call,) = reader(EVIL).read('{"name": "f", "arguments": {"a": "aaaa"}}')
    assert call.unchecked == ()
