"""Every keyword of every draft and every type of pydantic's fields behave as in the tables of docs/schemas.md."""

from pathlib import Path

import pytest
from support.scripts import script_module

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.schemas.narrowing import narrowed
from qwen3cpu.text.schemas.keywords import KEYWORDS

pytest.importorskip("llguidance", reason="schemas need the extra [schema]")
pydantic = pytest.importorskip("pydantic", reason="types of pydantic's fields")
ROOT = Path(__file__).parents[2]
if not (ROOT / "tools").is_dir():
    pytest.skip("needs tools/ and docs/ beside the tests", allow_module_level=True)

NULL, TEXT = {"type": "null"}, {"type": "string"}
HERE = {"$anchor": "here", "type": "null"}
SAMPLES = {
    "type": ("null", None),
    "enum": ([1, 2], None),
    "const": (1, None),
    "properties": ({"a": NULL}, None),
    "required": (["a"], None),
    "additionalProperties": (NULL, None),
    "unevaluatedProperties": (NULL, None),
    "patternProperties": ({"^a": NULL}, None),
    "propertyNames": ({"pattern": "^a"}, None),
    "minProperties": (1, None),
    "maxProperties": (1, None),
    "items": (NULL, None),
    "prefixItems": ([NULL], None),
    "additionalItems": (NULL, {"items": [TEXT]}),
    "unevaluatedItems": (NULL, None),
    "minItems": (1, None),
    "maxItems": (1, None),
    "minLength": (1, None),
    "maxLength": (1, None),
    "pattern": ("^a", None),
    "format": ("date", None),
    "minimum": (1, None),
    "maximum": (1, None),
    "exclusiveMinimum": (1, None),
    "exclusiveMaximum": (1, None),
    "multipleOf": (2, None),
    "divisibleBy": (2, None),
    "allOf": ([NULL], None),
    "extends": (NULL, None),
    "anyOf": ([NULL, TEXT], None),
    "oneOf": ([NULL, TEXT], None),
    "$ref": ("#here", {"$defs": {"h": HERE}}),
    "$dynamicRef": ("#here", {"$defs": {"h": HERE}}),
    "$recursiveRef": ("#/$defs/h", {"$defs": {"h": HERE}}),
    "nullable": (True, TEXT),
    "uniqueItems": (True, None),
    "not": (NULL, None),
    "disallow": ("null", None),
    "if": (NULL, {"then": TEXT}),
    "then": (NULL, None),
    "else": (NULL, None),
    "contains": (NULL, None),
    "minContains": (1, None),
    "maxContains": (1, None),
    "dependentRequired": ({"a": ["b"]}, None),
    "dependentSchemas": ({"a": NULL}, None),
    "dependencies": ({"a": ["b"]}, None),
}
"""A value for each keyword that limits values, and the other keywords that it needs."""


@pytest.fixture(scope="module")
def tables():
    return script_module("tools/schema_tables.py")


@pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda keyword: keyword.name)
def test_every_keyword(keyword):
    value, beside = SAMPLES.get(keyword.name, ("odd", None))
    schema = {keyword.name: value, **(beside or {})}
    if keyword.treatment == "refused":
        with pytest.raises(ArgumentError, match=f"schema: /[$]?{keyword.name}: '{keyword.name}' cannot be enforced"):
            narrowed(schema)
        return
    made = narrowed(schema)
    assert made.unenforced == ((f"/{keyword.name}",) if keyword.treatment == "loosened" else ())
    without = narrowed({name: each for name, each in schema.items() if name != keyword.name})
    assert (made.whole() == without.whole()) is (keyword.treatment == "annotation")


def test_the_keywords_are_those_of_the_drafts():
    """Compared with the vocabularies of the drafts' metaschemas."""
    from jsonschema import validators

    known = {keyword.name for keyword in KEYWORDS}
    for draft in ("3", "4", "6", "7", "201909", "202012"):
        kind = getattr(validators, f"Draft{draft}Validator")
        named = set(kind.META_SCHEMA.get("properties", ())) | set(kind.VALIDATORS)
        assert named <= known, draft


def test_the_page_is_what_the_code_does(tables):
    page = tables.PAGE.read_text("utf-8")
    assert tables.filled(page) == page, "run `python tools/schema_tables.py`"


def test_no_type_of_pydantic_is_refused(tables):
    for name, kind in tables.FIELDS.items():
        made = narrowed(tables.field_schema(kind))
        assert all(pointer.startswith(("/properties/x", "/$defs")) for pointer in made.unenforced), name
