"""Texts that look like the answer to a request with a schema or tools."""

import json

import pytest

from qwen3cpu.generation.expected_texts import MOST_CHARACTERS, example, expected_texts

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"enum": ["x", "y"]}},
        "home": {"$ref": "#/$defs/place"},
        "kind": {"const": 7},
        "more": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "$defs": {"place": {"type": "object", "properties": {"town~/": {"$ref": "#/$defs/place"}}}},
}


def test_an_example_has_every_property():
    found = example(PERSON, PERSON)
    assert list(found) == ["name", "age", "tags", "home", "kind", "more"]
    assert (found["name"], found["age"], found["tags"], found["kind"], found["more"]) == ("a", 0, ["x", "x"], 7, True)
    assert list(found["home"]) == ["town~/"]  # a schema that contains itself ends after a few levels
    json.dumps(found)


@pytest.mark.parametrize(
    "schema",
    [True, {}, {"$ref": "#/nowhere"}, {"$ref": 3}, {"enum": []}, {"enum": 3}, {"type": []}, {"type": "other"}, 5, None,
     {"properties": []}, {"allOf": []}, {"$ref": "#"}],
)  # fmt: skip
def test_what_is_not_understood_becomes_something(schema):
    json.dumps(example(schema, schema if isinstance(schema, dict) else {}))


def test_texts_of_a_schema_and_of_tools():
    tool = {"type": "function", "function": {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}}}}
    one, indented, call = expected_texts(PERSON, [tool])
    assert json.loads(one) == json.loads(indented) == example(PERSON, PERSON)
    assert "\n" not in one
    assert "\n  " in indented
    assert call == '<tool_call>\n{"name": "add", "arguments": {"a": 0}}\n</tool_call>'
    assert expected_texts(None, None) == []


def test_the_texts_are_not_longer_than_a_bound():
    tools = [{"function": {"name": "f" * 3000}}] * 20
    assert 0 < sum(map(len, expected_texts(None, tools))) <= MOST_CHARACTERS
