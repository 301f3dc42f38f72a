"""Removes from a schema the parts that no finite value follows, so that a grammar always has a next token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def pruned(schema: Any, definitions: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A schema and its definitions without their impossible parts; the schema is False if nothing is left of it."""
    finite = _finite(definitions)
    left = {name: _cut(each, finite) for name, each in definitions.items() if name in finite}
    schema = _cut(schema, finite)
    used: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for name in _references(waiting.pop()):
            if name not in used:
                used[name] = left[name]
                waiting.append(left[name])
    return schema, used


def any_of(branches: Sequence[Any]) -> Any:
    """The schema of values that follow one of several schemas."""
    left = list({json.dumps(branch): branch for branch in branches if branch is not False}.values())
    if True in [branch for branch in left if isinstance(branch, bool)]:
        return True
    return False if not left else left[0] if len(left) == 1 else {"anyOf": left}


def _finite(definitions: Mapping[str, Any]) -> set[str]:
    """The definitions that some finite value follows."""
    finite: set[str] = set()
    while True:
        before = len(finite)
        for name in reversed(list(definitions)):
            if name not in finite and _cut(definitions[name], finite) is not False:
                finite.add(name)
        if len(finite) == before:
            return finite


def _cut(schema: Any, finite: set[str]) -> Any:
    """A schema without the parts that lead to a definition without a finite value."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        return schema if _name(schema["$ref"]) in finite else False
    if "anyOf" in schema:
        left = [each for each in (_cut(branch, finite) for branch in schema["anyOf"]) if each is not False]
        return False if not left else left[0] if len(left) == 1 else {**schema, "anyOf": left}
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = dict(schema)
    for kind, cut in (("object", _cut_object), ("array", _cut_array)):
        if kind in kinds and not cut(words, finite):
            kinds = [each for each in kinds if each != kind]
            if not kinds:
                return False
    if "type" in schema:
        words["type"] = kinds[0] if len(kinds) == 1 else kinds
    return words


def _cut_object(words: dict[str, Any], finite: set[str]) -> bool:
    """Cut the schemas below an object; return False if no object is left."""
    for keyword in ("properties", "patternProperties"):
        if keyword in words:
            cut = {name: _cut(each, finite) for name, each in words[keyword].items()}
            words[keyword] = {name: each for name, each in cut.items() if each is not False}
    if "additionalProperties" in words:
        words["additionalProperties"] = _cut(words["additionalProperties"], finite)
    if not words.get("patternProperties"):
        words.pop("patternProperties", None)
    if any(name not in words.get("properties", {}) for name in words.get("required", ())):
        return False
    closed = words.get("additionalProperties") is False and "patternProperties" not in words
    return not closed or words.get("minProperties", 0) <= len(words.get("properties", {}))


def _cut_array(words: dict[str, Any], finite: set[str]) -> bool:
    """Cut the schemas below an array; return False if no array is left."""
    prefix = [_cut(each, finite) for each in words.get("prefixItems", ())]
    rest = _cut(words.get("items", True), finite)
    if False in [each for each in prefix if isinstance(each, bool)]:
        prefix, rest = prefix[: next(i for i, each in enumerate(prefix) if each is False)], False
    if rest is False:
        words["maxItems"] = min(words.get("maxItems", len(prefix)), len(prefix))
    words["items"] = rest
    if prefix:
        words["prefixItems"] = prefix
    else:
        words.pop("prefixItems", None)
    return bool(words.get("minItems", 0) <= words.get("maxItems", words.get("minItems", 0)))


def depth(schema: Any) -> int:
    """Levels of nesting."""
    return 1 + max(map(depth, _below(schema)), default=0) if isinstance(schema, dict) else 0


def _references(schema: Any) -> list[str]:
    if not isinstance(schema, dict):
        return []
    if isinstance(schema.get("$ref"), str):
        return [_name(schema["$ref"])]
    return [name for each in _below(schema) for name in _references(each)]


def _below(schema: dict[str, Any]) -> list[Any]:
    below = [*schema.get("anyOf", ()), *schema.get("prefixItems", ()), schema.get("items")]
    below += [*schema.get("properties", {}).values(), *schema.get("patternProperties", {}).values()]
    return [*below, schema.get("additionalProperties")]


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
