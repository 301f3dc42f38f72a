"""Converts the keywords of one place in a schema from any draft or common dialect to draft 2020-12."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
VALUE_KEYWORDS = ("const", "enum")
"""Keywords of which null may be the value, or one of the values."""
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
IDENTIFIERS = ("$id", "id")
"""Drafts 3 and 4 use the second one."""
LONGEST_REFERENCE = 1000
"""Most characters of a reference or an identifier."""


class Written(NamedTuple):
    """The value of a keyword, and its name in the schema."""

    name: str
    value: Any


def modern(schema: Mapping[str, Any]) -> dict[str, Written]:
    """The keywords of one place, by their names in draft 2020-12. The schemas inside are unchanged.

    A keyword whose value is null counts as absent, because programs write null for missing values. These older forms
    are understood:

        draft 3            `type: "any"`, schemas in `type`, `divisibleBy`, `disallow`, `extends`
        draft 4            booleans in `exclusiveMinimum` and `exclusiveMaximum`
        up to draft 7      `items` as a list, `additionalItems`, `dependencies`
        2019-09, 2020-12   `$recursiveRef`, `$dynamicRef`
        OpenAPI            `nullable`
    """
    words = {name: Written(name, value) for name, value in schema.items() if value is not None or name == "const"}
    for old, new in (("divisibleBy", "multipleOf"), ("$recursiveRef", "$ref"), ("$dynamicRef", "$ref")):
        if old in words and new not in words:
            words[new] = words.pop(old)
    _bounds(words)
    _types(words)
    if isinstance(words.get("items", Written("", None)).value, list):
        items = words.pop("items")
        words.setdefault("prefixItems", items)
        if "additionalItems" in words:
            words["items"] = words["additionalItems"]
    words.pop("additionalItems", None)
    if "extends" in words:
        extends = words.pop("extends")
        words.setdefault("allOf", extends if isinstance(extends.value, list) else Written("extends", [extends.value]))
    if "required" in words and isinstance(words["required"].value, bool):
        del words["required"]  # draft 3: the object around it requires this property
    return words


def requires_itself(schema: Any) -> bool:
    """Whether the schema of a property has `required: true`, as in draft 3."""
    return isinstance(schema, Mapping) and schema.get("required") is True


def _bounds(words: dict[str, Written]) -> None:
    """Draft 4: `exclusiveMinimum: true` makes `minimum` exclusive."""
    for plain, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in words and isinstance(words[exclusive].value, bool):
            strict = words.pop(exclusive).value
            if strict and plain in words:
                words[exclusive] = words.pop(plain)


def _types(words: dict[str, Written]) -> None:
    if "type" in words:
        name, value = words["type"]
        kinds = value if isinstance(value, list) else [value]
        if "any" in kinds:
            del words["type"]
        elif any(isinstance(kind, dict) for kind in kinds):
            del words["type"]
            branches = [kind if isinstance(kind, dict) else {"type": kind} for kind in kinds]
            words.setdefault("anyOf", Written(name, branches))
        else:
            words["type"] = Written(name, kinds)
    if words.pop("nullable", Written("", None)).value is True:
        if "type" in words:
            words["type"] = Written("type", [*words["type"].value, "null"])
        if "enum" in words and isinstance(words["enum"].value, list):
            words["enum"] = Written("enum", [*words["enum"].value, None])
