"""Values against schemas of every draft: no check hangs, fetches anything or raises another library's exception."""

import gc
import itertools
import sys
import urllib.parse

import jsonschema
import pytest

import qwen3cpu
from qwen3cpu.text.schemas.checking import MOST_NAMED, SchemaChecker, schema_problem
from qwen3cpu.text.schemas.tools import with_checkable_parameters
from qwen3cpu.text.tool_calls import CallReader, MalformedCall, argument_validators

DRAFTS = [f"http://json-schema.org/draft-0{number}/schema#" for number in (3, 4, 6, 7)] + [
    f"https://json-schema.org/draft/{year}/schema" for year in ("2019-09", "2020-12")
]
EVIL, LONG = "^(a+)+$", "a" * 2000 + "!"


def check(schema, value):
    return SchemaChecker(schema).check(value)


def problem(schema, value):
    return check(schema, value).problem("value")


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "any", "minimum": 3}, "x", 2),
        ({"type": ["string", {"minimum": 3}]}, 4, 2),
        ({"minimum": 3, "exclusiveMinimum": True}, 4, 3),
        ({"minimum": 5, "maximum": 5}, 5, 6),
        ({"minimum": 5, "maximum": 5}, 5, 4),
        ({"divisibleBy": 3}, 6, 7),
        ({"properties": {"a": {"required": True}}}, {"a": 1}, {}),
        ({"items": [{"type": "null"}], "additionalItems": False}, [None], [None, None]),
        ({"prefixItems": [{"type": "null"}], "items": {"type": "integer"}}, [None, 1], [None, None]),
        ({"dependencies": {"a": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"extends": {"type": "null"}}, None, 1),
        ({"disallow": "null"}, 1, None),
        ({"type": "string", "nullable": True, "enum": ["a"]}, None, "b"),
        ({"pattern": "^(a+)+$"}, "a" * 40, "a" * 40 + "!"),
        ({"pattern": r"^\p{L}\/$"}, "ä/", "1/"),
        ({"patternProperties": {"^(a+)+$": {"type": "null"}}}, {"a" * 40 + "!": 1}, {"a" * 40: 1}),
        ({"patternProperties": {"^a": {}}, "additionalProperties": False}, {"ab": 1}, {"b": 1}),
        ({"$defs": {"n": {"$anchor": "n", "type": "null"}}, "$ref": "#n"}, None, 1),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "items": {"$ref": "#"}, "maxItems": 1}, [[]], [[], []]),
        ({"uniqueItems": True, "not": {"const": []}}, [1], [1, 1]),
    ],
    ids=str,
)
def test_every_draft(schema, right, wrong):
    assert check(schema, right).listed() == ()
    assert len(check(schema, wrong).listed()) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "foo"},
        {"type": 5},
        {"required": 7},
        {"properties": None},
        {"properties": {"a": None}},
        {"pattern": "["},
        {"pattern": 5},
        {"enum": 5},
        {"items": 5},
        {"multipleOf": 0},
        {"minimum": "x"},
        {"anyOf": 5},
        {"format": 5},
    ],
    ids=str,
)
def test_values_that_no_draft_knows_say_nothing(schema):
    for value in (None, 1, "a", [1], {"a": 1}):
        assert isinstance(check(schema, value).listed(), tuple)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "http://example.org/x.json"},
        {"$ref": "#/nowhere"},
        {
            "$defs": {str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(40)} | {"40": {}},
            "$ref": "#/$defs/0",
        },
    ],
    ids=["itself", "elsewhere", "nowhere", "doubled"],
)
def test_what_cannot_be_checked_says_so(schema):
    findings = check(schema, 1)
    assert findings.listed() == (f"not checked to the end: {findings.stopped}",)
    assert findings.problem("value") == f"value: cannot be checked: {findings.stopped}"
    assert findings.allowed


def test_a_check_has_no_end_of_the_stack():
    """It stops before the end of the stack, because inside Rust that is a panic, which is not an `Exception`."""
    value = None
    for _ in range(400):
        value = [value]
    for schema in ({"items": {"$ref": "#"}, "maxItems": 1}, {"items": {"$ref": "#"}, "unevaluatedItems": False}):
        assert check(schema, value).listed()[0].startswith("not checked to the end")


def test_an_error_names_its_place():
    findings = check({"properties": {"a/b": {"items": {"type": "integer"}}}}, {"a/b": [1, "x"]})
    assert findings.listed() == ("/a~1b/1: 'x' is not of type 'integer'",)
    assert findings.problem("value") == "value.a/b[1]: 'x' is not of type 'integer'"


def test_few_errors_are_named_and_shortened():
    findings = check({"items": {"type": "null"}}, ["x" * 1000] * 20)
    assert [each.path for each in findings.mistakes] == [(index,) for index in range(MOST_NAMED)]
    assert findings.listed()[0] == f"/0: '{'x' * 95}...' is not of type 'null'"
    assert len(check({"enum": ["x" * 1000]}, 1).listed()[0]) == 300
    assert not findings.allowed


def test_the_best_error_is_that_of_the_branch_that_was_meant():
    schema = {"anyOf": [{"type": "string"}, {"properties": {"a": {"properties": {"b": {"type": "null"}}}}}]}
    assert problem(schema, {"a": {"b": 1}}).startswith("value")
    ours = check(schema, {"a": {"b": 1}}).best
    theirs = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors({"a": {"b": 1}}))
    assert (ours.path, ours.problem) == (tuple(theirs.absolute_path), theirs.message)


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
    assert words in problem({"$schema": draft, **schema}, value)
    assert check({"$schema": draft, **schema}, value).unchecked == ()


@pytest.mark.parametrize("draft", DRAFTS[4:])
def test_unevaluated_properties(draft):
    closed = {"$schema": draft, "properties": {"a": {}}, "unevaluatedProperties": False}
    assert "Unevaluated properties" in problem(closed, {"b": 1})
    findings = check({**closed, "patternProperties": {EVIL: {}}}, {LONG: 1})
    assert findings.problem("value") is None
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
    assert problem(schema, good) is None
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(bad))
    assert problem(schema, bad).endswith(f": {error.message}")


def test_what_cannot_be_checked_is_named_and_lets_values_pass():
    schema = {
        "properties": {"a": {"pattern": r"(x)\1"}},
        "patternProperties": {r"(y)\1": {}},
        "additionalProperties": False,
    }
    findings = check(schema, {"a": "q", "yy": 1})
    assert findings.problem("value") is None
    assert len(findings.unchecked) == 2
    assert all("groupref cannot be checked" in reason for reason in findings.unchecked)


def test_a_schema_that_is_exponentially_large():
    names = [f"d{number}" for number in range(40)]
    definitions = {name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in itertools.pairwise(names)}
    findings = check({"$defs": {**definitions, names[-1]: {"type": "string"}}, "$ref": "#/$defs/d0"}, "x")
    assert findings.problem("value") == "value: cannot be checked: the schema takes more than 100000 steps"


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
    assert problem(schema, {"a": 1}) == (
        "value: cannot be checked: the schema applies more than 140 keywords inside each other"
    )


@pytest.mark.parametrize("keyword", ["unevaluatedProperties", "unevaluatedItems"])
@pytest.mark.parametrize("value", [{"a": 1}, [1]])
def test_references_without_an_end_beside_unevaluated(keyword, value):
    for schema in ({keyword: False, "$ref": "#"}, {keyword: False, "allOf": [{"$ref": "#"}]}):
        assert problem(schema, value).startswith("value: cannot be checked: ")


def test_deep_values_are_checked():
    schema = {"$defs": {"t": {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}, "n": {"type": "null"}}}}}
    value = {"n": 1}
    for _ in range(62):
        value = {"t": value}
    assert problem({**schema, "$ref": "#/$defs/t"}, value).endswith(".t.t.n: 1 is not of type 'null'")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "text"}, "/type: 'text' is not valid under any of the given schemas"),
        ({"properties": {"a/b": {"pattern": 1}}}, "/properties/a~1b/pattern: 1 is not of type 'string'"),
        ([], "expected a JSON schema (an object), found []"),
        ({"required": "a"}, "/required: 'a' is not of type 'array'"),
        ({"$schema": DRAFTS[0], "type": 5}, "/type: 5 is not of type 'string', 'array'"),
        ({"$schema": 5}, "/$schema: 5 is not of type 'string'"),
        ({"pattern": r"^\p{L}+$"}, None),
        ({"$schema": "http://example.org/unknown"}, None),
    ],
    ids=str,
)
def test_what_is_no_schema(schema, words):
    assert schema_problem(schema) == words


def test_deep_schemas_are_an_error_of_ours():
    schema = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(qwen3cpu.ArgumentError, match="schema: expected less nesting"):
        check(schema, 1)
    assert schema_problem(schema) == "expected less nesting"


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_reference_to_the_whole_schema_is_counted_too(draft):
    """The library would continue with its own validators there, because of `$schema`."""
    schema = {"$schema": draft, "properties": {"a": {"$ref": "#"}, "b": {"pattern": EVIL}}}
    assert problem(schema, {"a": {"b": LONG}}).startswith("value.a.b: ")


def test_identifiers_and_types_are_those_of_the_draft():
    named = {"definitions": {"n": {"id": "urn:n", "type": "integer"}}, "properties": {"a": {"$ref": "urn:n"}}}
    assert problem({"$schema": DRAFTS[1], **named}, {"a": "x"}) == "value.a: 'x' is not of type 'integer'"
    assert problem({"$schema": DRAFTS[1], "type": "integer"}, 5.0) == "value: 5.0 is not of type 'integer'"
    assert problem({"$schema": DRAFTS[3], "type": "integer"}, 5.0) is None
    assert problem({"$schema": DRAFTS[3], "$ref": "#/a", "a": {}, "type": "null"}, 1) is None
    assert problem({"$ref": "#/a", "a": {}, "type": "null"}, 1) == "value: 1 is not of type 'null'"


def test_long_references_are_not_kept():
    """The standard library caches the last 128 references that it has parsed."""
    for number in range(130):
        text = f"urn:{number}:{'x' * 100_000}"
        inside = {"$id": text, "id": text, "properties": {"b": {"$id": "c", "id": "c"}}}
        for draft in DRAFTS:
            named = {"$schema": draft, "definitions": {"a": inside}, "$defs": {"a": inside}}
            assert check({**named, "$ref": "nowhere"}, 1).stopped == "Unresolvable: nowhere"
        assert check({"$ref": text + "#a"}, 1).stopped.startswith("PointerToNowhere: '/urn:")
    kept = [key for each in gc.get_referents(urllib.parse.urlsplit) if isinstance(each, dict) for key in each]
    assert kept
    assert sum(map(sys.getsizeof, kept)) < 100_000
    assert all(sys.getsizeof(text) < 10_000 for key in kept for text in gc.get_referents(key))


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


@pytest.mark.parametrize(
    ("parameters", "left"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, None),
        (
            {"properties": {"a": {"type": "string", "enum": None}}, "required": None},
            {"properties": {"a": {"type": "string"}}},
        ),
        ({"properties": {"a": {"enum": ["x", None], "const": None}}}, None),
        ({"properties": {"a": {"type": "any"}}}, {"type": "object"}),
        ({"properties": {"a": {"required": True}}}, {"type": "object"}),
    ],
)
def test_one_imperfect_tool_leaves_its_calls_free(parameters, left):
    good = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}
    tools = [good, {"name": "f", "parameters": parameters}]
    assert with_checkable_parameters(tools) == [good, {"name": "f", "parameters": left or parameters}]
    jsonschema.Draft202012Validator.check_schema(with_checkable_parameters(tools)[1]["parameters"])
