"""Values against schemas of every draft: never a hang, never a fetch, never a foreign exception."""

import jsonschema
import pytest

from qwen3cpu.text.schemas.checking import Checker
from qwen3cpu.text.schemas.patterns import found_in, translated
from qwen3cpu.text.schemas.tools import with_checkable_parameters

pytest.importorskip("llguidance", reason="schemas need the extra [schema]")


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
    assert Checker(schema).errors(right) == ()
    assert len(Checker(schema).errors(wrong)) == 1


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
        Checker(schema).errors(value)


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
    (error,) = Checker(schema).errors(1)
    assert error.startswith("not checked to the end: ")


def test_a_check_has_no_end_of_the_stack():
    """It stops before, however deep the value is: inside Rust it would be a panic, which no `except Exception` sees."""
    value = None
    for _ in range(400):
        value = [value]
    assert Checker({"items": {"$ref": "#"}, "maxItems": 1}).errors(value)[0].startswith("not checked to the end")


def test_an_error_names_its_place():
    errors = Checker({"properties": {"a/b": {"items": {"type": "integer"}}}}).errors({"a/b": [1, "x"]})
    assert errors == ("/a~1b/1: \"x\" is not of type 'integer'",)


@pytest.mark.parametrize(
    "pattern", ["^(a|b)*$", r"^\d{2,3}$", "[^a]", "a{,3}", r"\cJ", "^[a&&b]+$", "^[[]$", "(?<n>a)b", "x{y}", "^$"]
)
@pytest.mark.parametrize("text", ["", "ab", "12", "1234", "\n", "&", "[", "x{y}", "a{,3}", 'a"\\'])
def test_patterns_mean_what_ecmascript_says(pattern, text):
    """Compared with Python's, where both have the same meaning."""
    import re

    known = (
        pattern.replace("(?<", "(?P<")
        .replace(r"\cJ", "\\n")
        .replace("a{,3}", r"a\{,3}")
        .replace("[[]", r"[\[]")
        .replace("&&", "&")
    )
    assert found_in(pattern, text) is bool(re.search(known.replace("$", r"\Z"), text))


@pytest.mark.parametrize(
    "pattern", [r"(?=a)", r"(?<!a)b", r"\bx", r"(a)\1", "^(a{0,100}){0,100}$", "a" * 5000, "\ud800"]
)
def test_patterns_without_an_equivalent(pattern):
    assert translated(pattern) is None


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
