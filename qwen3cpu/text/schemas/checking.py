"""Checks values against schemas of every draft, in bounded time, fetching nothing.

jsonschema does it; what it would refuse or hang on (habits of other drafts, regular expressions that go back and forth,
schemas whose check has no end) is replaced here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qwen3cpu.text.schemas.dialects import TYPES, modern, requires_itself
from qwen3cpu.text.schemas.patterns import found_in
from qwen3cpu.text.schemas.reading import pointer_to

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MOST_STEPS = 50_000
"""Keywords that a check looks at."""
MOST_DEPTH = 120
"""Keywords inside each other: each takes several calls of Python's stack, and a library that meets its end panics."""
MOST_ERRORS = 8
"""Errors that are named."""
LONGEST_ERROR = 300
"""Characters of an error."""
NOT_CHECKED = "not checked to the end"
"""Beginning of the error for a check that had to stop."""
_REPLACED = ("exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "multipleOf")


class _TooMuchError(Exception):
    """The check has taken more steps than it may."""


class Checker:
    """Checks values against one schema.

    Args:
        schema: of JSON's own types. Values of keywords that no draft knows are passed over.
    """

    def __init__(self, schema: Any) -> None:
        from referencing import Registry

        # With a registry of its own nothing is fetched from anywhere.
        make: Any = _validator_class()
        self._counter = _Steps()
        self._validator = make(_without_dialect(schema), registry=Registry(), format_checker=self._counter)

    def errors(self, value: Any) -> tuple[str, ...]:
        """What is wrong with a value, each as "place: problem" with the place a JSON pointer into the value."""
        from referencing.exceptions import Unresolvable

        found: list[str] = []
        try:
            self._counter.steps = self._counter.depth = 0
            for error in self._validator.iter_errors(value):
                place = pointer_to(*error.absolute_path)
                found.append(_shortened(f"{place}: {error.message}" if place else error.message))
                if len(found) == MOST_ERRORS:
                    break
        except (_TooMuchError, RecursionError):
            found.append(f"{NOT_CHECKED}: the schema needs too many steps")
        except Unresolvable as problem:
            found.append(_shortened(f"{NOT_CHECKED}: {problem}"))
        return tuple(found)

    def accepts(self, value: Any) -> bool:
        """Whether nothing is known to be wrong with a value; what cannot be checked is not."""
        return all(error.startswith(NOT_CHECKED) for error in self.errors(value))


class _Steps:
    """Counts the steps of a check; jsonschema hands it on to where references lead as it would a checker of formats."""

    def __init__(self) -> None:
        self.steps = 0
        self.depth = 0
        """Keywords that are being looked at inside each other."""

    def enter(self) -> None:
        self.steps += 1
        self.depth += 1
        if self.steps > MOST_STEPS or self.depth > MOST_DEPTH:
            raise _TooMuchError


@lru_cache(maxsize=1)
def _validator_class() -> type[Validator]:
    from jsonschema import Draft202012Validator, validators

    known = dict(Draft202012Validator.VALIDATORS)
    for name in ("format", "$dynamicRef", "unevaluatedItems", "unevaluatedProperties"):
        known.pop(name, None)  # the last two go through regular expressions of their own
    ours = {name: _guarded(name, function) for name, function in known.items() if name not in _REPLACED}
    ours |= {name: _guarded(name, function) for name, function in _OURS.items()}
    ours |= {name: _guarded(name, _number(name)) for name in (*_REPLACED, "divisibleBy")}
    ours |= dict.fromkeys(("$dynamicRef", "$recursiveRef"), ours["$ref"])
    made: type[Validator] = validators.create(
        Draft202012Validator.META_SCHEMA, ours, type_checker=Draft202012Validator.TYPE_CHECKER
    )
    return made


def _guarded(name: str, function: Any) -> Any:
    """A keyword that counts its steps and passes over values that it cannot have."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        steps = validator.format_checker
        try:
            steps.enter()
            if value is not None or name == "const":
                yield from function(validator, value, instance, schema) or ()
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, ArithmeticError):
            return  # a value that no draft knows for this keyword
        finally:
            steps.depth -= 1

    return check


def _error(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


def _type(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    kinds = modern(schema).get("type")
    if kinds is None:
        nested = [kind for kind in value if isinstance(kind, dict)] if isinstance(value, list) else []
        if nested and not any(_fits(validator, instance, kind) for kind in value):
            yield _error(f"{_shown(instance)} is of none of the types")
    elif set(kinds.value) <= {*TYPES} and not any(validator.is_type(instance, kind) for kind in kinds.value):
        yield _error(f"{_shown(instance)} is not of type {', '.join(map(repr, kinds.value))}")


def _fits(validator: Any, instance: Any, kind: Any) -> bool:
    if isinstance(kind, dict):
        return bool(validator.evolve(schema=kind).is_valid(instance))
    return kind == "any" or (kind in TYPES and validator.is_type(instance, kind))


def _number(written: str) -> Any:
    """A keyword about numbers, by the meaning that its neighbours give it."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        name = next((name for name, word in modern(schema).items() if word.name == written), None)
        if not validator.is_type(instance, "number"):
            return
        if name == "minimum" and instance < value:
            yield _error(f"{instance!r} is less than the minimum of {value!r}")
        elif name == "exclusiveMinimum" and instance <= value:
            yield _error(f"{instance!r} is not above {value!r}")
        elif name == "maximum" and instance > value:
            yield _error(f"{instance!r} is greater than the maximum of {value!r}")
        elif name == "exclusiveMaximum" and instance >= value:
            yield _error(f"{instance!r} is not below {value!r}")
        elif name == "multipleOf":
            from jsonschema import Draft202012Validator

            yield from Draft202012Validator.VALIDATORS["multipleOf"](validator, value, instance, schema) or ()

    return check


def _enum(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import Draft202012Validator

    values = modern(schema)["enum"].value
    yield from Draft202012Validator.VALIDATORS["enum"](validator, values, instance, schema) or ()


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and found_in(value, instance) is False:
        yield _error(f"{_shown(instance)} does not match {value!r}")


def _properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for name, below in value.items():
        if name in instance:
            yield from validator.descend(instance[name], below, path=name, schema_path=name)
        elif requires_itself(below):
            yield _error(f"{name!r} is a required property")


def _pattern_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, below in value.items():
            for name, each in instance.items():
                if found_in(pattern, name):
                    yield from validator.descend(each, below, path=name, schema_path=pattern)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties") or {}
    for name, each in instance.items():
        if name in (schema.get("properties") or {}) or any(found_in(each, name) is not False for each in patterns):
            continue
        if value is False:
            yield _error(f"{name!r} is not among the properties")
        else:
            yield from validator.descend(each, value, path=name)


def _items(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    words = modern(schema)
    if not validator.is_type(instance, "array"):
        return
    prefix = words["prefixItems"].value if "prefixItems" in words else []
    for index, (item, below) in enumerate(zip(instance, prefix, strict=False)):
        yield from validator.descend(item, below, path=index, schema_path=index)
    if "items" in words:
        rest = words["items"].value
        for index, item in enumerate(instance[len(prefix) :], len(prefix)):
            yield from validator.descend(item, rest, path=index)


def _prefix_items(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if schema.get("items") is None:
        yield from _items(validator, value, instance, schema)


def _dependencies(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for name, needed in value.items():
            if name not in instance:
                continue
            if isinstance(needed, (dict, bool)):
                yield from validator.descend(instance, needed, schema_path=name)
                continue
            for other in [needed] if isinstance(needed, str) else needed:
                if other not in instance:
                    yield _error(f"{other!r} is needed beside {name!r}")


def _extends(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    for index, below in enumerate(value if isinstance(value, list) else [value]):
        yield from validator.descend(instance, below, schema_path=index)


def _disallow(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    for kind in value if isinstance(value, list) else [value]:
        if _fits(validator, instance, kind):
            yield _error(f"{_shown(instance)} is of type {kind!r}, which is not allowed")


_OURS: Mapping[str, Any] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "items": _items,
    "prefixItems": _prefix_items,
    "dependencies": _dependencies,
    "extends": _extends,
    "disallow": _disallow,
}


def _without_dialect(value: Any) -> Any:
    """A copy without `$schema`: the library would go on there with validators of its own."""
    if isinstance(value, dict):
        return {
            name: _without_dialect(each)
            for name, each in value.items()
            if name != "$schema" or not isinstance(each, str)
        }
    return [_without_dialect(each) for each in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    return _shortened(json.dumps(value, ensure_ascii=False))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 3]}..."
