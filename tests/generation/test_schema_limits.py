"""Schemas that could end answers early, hang or crash the process, but do not."""

import json
import time

import jsonschema
import pytest

import qwen3cpu
from qwen3cpu.generation import grammar
from qwen3cpu.generation.schemas import leaves, objects
from qwen3cpu.generation.schemas.narrowing import narrowed

pytest.importorskip("llguidance", reason="schemas need the extra [schema]")


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


HARD = [
    {"properties": {"a": {"type": "null"}}, "patternProperties": {"^a$": {}}, "additionalProperties": False},
    {"patternProperties": {"^(a|b)$": {"type": "null"}}, "minProperties": 1, "maxProperties": 3},
    {"properties": {"n": {"anyOf": [{"$ref": "#"}, {"properties": {"m": {"$ref": "#/properties/n"}}}]}}},
    {"type": "array", "items": False, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "null"}, {"not": {}}, {"type": "null"}]},
    {"type": "object", "propertyNames": {"enum": ["a"]}, "additionalProperties": {"type": "null"}},
    {"type": "object", "propertyNames": {"pattern": "^a$"}, "properties": {"a": {"type": "null"}}},
    {
        "oneOf": [
            {"type": "integer", "minimum": 5, "maximum": 9},
            {"type": "string", "pattern": "^[ab]{3}$"},
            {"enum": [[1, 2]]},
        ]
    },
]


@pytest.mark.parametrize("schema", HARD, ids=lambda schema: json.dumps(schema)[:60])
def test_answers_never_come_to_a_dead_end(tiny, schema):
    """Whatever is chosen: a high temperature reaches every part of the schema."""
    for seed in range(8):
        result = tiny.generate(
            "1", schema=schema, seed=seed, temperature=20.0, top_k=0, top_p=1.0, thinking=False, max_new_tokens=60
        )
        assert result.stopped_by in ("eos", "max_new_tokens")
        if result.stopped_by == "eos":
            jsonschema.validate(json.loads(result.text), schema)
            assert result.schema_errors == ()


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$defs": {str(i): {"properties": {"n": {"$ref": f"#/$defs/{i + 1}"}}} for i in range(999)} | {"999": {}},
            "$ref": "#/$defs/0",
        },
        {
            "$defs": {str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(40)} | {"40": {}},
            "$ref": "#/$defs/0",
        },
        {
            "$defs": {str(i): {"properties": {k: {"$ref": f"#/$defs/{i + 1}"} for k in "ab"}} for i in range(60)}
            | {"60": {}},
            "$ref": "#/$defs/0",
        },
        {"properties": {str(i): {"type": "integer"} for i in range(500)}},
        {"enum": [str(i) for i in range(5000)]},
    ],
    ids=["chain", "doubled", "tree", "wide", "listed"],
)
def test_large_schemas_that_are_taken(tiny, schema):
    """A naive implementation takes exponential time or overflows the stack. The test fails if one hangs."""
    tiny.answerer.check_grammar(grammar.answer_grammar(schema, after_thinking=False))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (
            {"$defs": {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(500)} | {"500": {}}, "$ref": "#/$defs/0"},
            "100 references in a row",
        ),
        (
            {"items": {"$ref": "urn:" + "x" * 1000}},
            "schema: /items/[$]ref: expected at most 1000 characters, found 1004",
        ),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", "items": {"id": "x" * 1001}},
            "schema: /items/id: expected at most 1000 characters, found 1001",
        ),
        ({"properties": {str(i): {} for i in range(5000)}}, "at most 500 optional properties, found 5000"),
        (
            {
                "allOf": [
                    {"anyOf": [{"properties": {f"{i}{j}{k}": {} for k in range(40)}} for j in range(8)]}
                    for i in range(8)
                ]
            },
            None,
        ),
    ],
    ids=["chain", "long", "long id", "wide", "product"],
)
def test_schemas_over_a_limit(schema, words):
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        grammar.answer_grammar(schema, after_thinking=False)


def test_names_are_compared_with_few_patterns(monkeypatch):
    """With many of both, comparing each name with each pattern would take minutes."""
    searches = []
    monkeypatch.setattr(objects, "found_in", lambda pattern, text, budget: searches.append(pattern))
    names = {f"n{i}": {} for i in range(400)}
    narrowed({"properties": names, "patternProperties": {f"^p{i}": {} for i in range(400)}})
    assert len(searches) == 400 * objects.MOST_PATTERNS


def multiples(numbers):
    return {"items": {"anyOf": [{"type": "integer", "multipleOf": number} for number in numbers]}}


def test_multiples_have_a_sum_that_is_not_exceeded(monkeypatch):
    """Each takes memory and time by its size, in one schema or those of all tools; a repeated one takes it once."""
    assert narrowed(multiples([9000, 9001, 1999])).unenforced == ()
    assert narrowed(multiples([9000] * 50)).unenforced == ()
    assert narrowed(multiples([9000, 9001, 2000, 1999])).unenforced == ("/items/anyOf/2/multipleOf",)
    tools = [{"name": f"f{n}", "parameters": {"properties": {"a": multiples([9000 + n])}}} for n in range(3)]
    made = grammar.answer_grammar(None, tools, calls=(1, 2), after_thinking=False)
    assert made.unenforced == ("f2:/properties/a/items/anyOf/0/multipleOf",)
    assert made.text.count("multipleOf") == 2


def test_few_patterns_are_joined_at_one_place():
    """The engine's time doubles with each: 24 take minutes."""
    made = narrowed({"type": "string", "allOf": [{"pattern": f"^[ab]*{letter}"} for letter in "abababababab"]})
    assert made.unenforced == ()
    made = narrowed({"type": "string", "allOf": [{"pattern": f"a{n}.*b"} for n in range(60)]})
    assert set(made.unenforced) >= {f"/allOf/{n}/pattern" for n in range(leaves.MOST_JOINED, 60)}


def test_a_name_of_which_it_is_unknown_what_it_matches_is_left_free():
    """The pattern, with a back reference, might allow `aa`."""
    schema = {"patternProperties": {r"^(a)\1$": {"type": "null"}}, "required": ["aa"], "additionalProperties": False}
    made = narrowed(schema)
    assert made.schema["properties"] == {"aa": True}
    assert made.unenforced == ("/patternProperties",)
    known = narrowed({**schema, "patternProperties": {"^a+$": {"type": "null"}}})
    assert known.schema["properties"] == {"aa": {"type": "null"}}


def test_searches_share_one_budget(monkeypatch):
    """Many listed values, and an expression with many steps for each: values beyond the budget are not enforced."""
    values = [f"{'a' * 500}{number}" for number in range(50)]
    schema = {"enum": [*values, "b"], "pattern": "^(a|aa|aaa)+[0-9]+$"}
    assert narrowed(schema).schema == {"enum": values}
    assert narrowed(schema).unenforced == ()
    monkeypatch.setattr(leaves, "MOST_SEARCH_STEPS", 50_000)
    assert narrowed(schema).schema == {"enum": [*values, "b"]}
    assert narrowed(schema).unenforced == ("",)


def test_a_grammar_that_is_too_large_for_its_first_token(tiny, monkeypatch):
    """It is refused instead of ending every answer before it begins."""
    monkeypatch.setattr(grammar, "MOST_STATES", 5)
    with pytest.raises(qwen3cpu.ArgumentError, match="schema: lexer error: too many states"):
        tiny.answerer.check_grammar(grammar.Grammar("start: /.{0,30}a.{0,30}/"))


def test_the_time_grows_with_the_number_of_patterns_not_with_its_fourth_power(tiny):
    """250 patterns at one place, compared with as many properties in the same run."""

    def seconds(schema):
        begin = time.perf_counter()
        tiny.answerer.check_grammar(grammar.answer_grammar(schema, after_thinking=False))
        return time.perf_counter() - begin

    plain = seconds({"properties": {f"q{i}": {"type": "string", "pattern": f"^q{{{i}}}$"} for i in range(250)}})
    assert seconds({"patternProperties": {f"^(r|s){{{i}}}$": {} for i in range(250)}}) < 10 * plain
