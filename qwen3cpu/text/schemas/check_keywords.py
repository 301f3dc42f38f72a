"""The keywords that checking.py applies: they count steps, understand all drafts and dialects, and avoid `re`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from qwen3cpu.text.pattern_syntax import UncheckedPatternError
from qwen3cpu.text.patterns import Budget, search
from qwen3cpu.text.schemas.dialects import TYPES, modern, requires_itself

MOST_KEYWORDS: Final = 100_000
"""Most keywords applied in one check, because references can make a small schema exponentially large."""
MOST_DEEP: Final = 140
"""Most keywords inside each other, because a schema may refer to itself. Values and schemas of 64 levels need less."""
LONGEST_REASON: Final = 300
"""Most characters of a reason; without a limit it could quote a whole large schema."""
_LONGEST_VALUE: Final = 100
_NUMBERS: Final = ("exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "multipleOf", "divisibleBy")


class TooMuchError(Exception):
    """A check takes too many steps."""


@dataclass
class Run:
    """The state of one check.

    Attributes:
        has_pattern_properties: whether the schema has them anywhere.
        patterns: steps that patterns may take.
        unchecked: the parts that were not checked, as keys of a dict, in order.
    """

    has_pattern_properties: bool
    patterns: Budget
    unchecked: dict[str, None] = field(default_factory=dict)
    keywords: int = 0
    depth: int = 0

    def enter(self) -> None:
        """Count a keyword."""
        self.keywords += 1
        self.depth += 1
        if self.keywords > MOST_KEYWORDS:
            raise TooMuchError(f"the schema takes more than {MOST_KEYWORDS} steps")
        if self.depth > MOST_DEEP:
            # Python's own limit could be reached inside a library that crashes on it.
            raise TooMuchError(f"the schema applies more than {MOST_DEEP} keywords inside each other")

    def matches(self, pattern: Any, text: str) -> bool | None:
        """Whether a text matches; None: that cannot be checked."""
        if not isinstance(pattern, str):
            return None
        try:
            return search(pattern, text, self.patterns)
        except UncheckedPatternError as reason:
            self.unchecked[f"pattern {shortened(repr(pattern))}: {reason}"] = None
            return None


_run: ContextVar[Run] = ContextVar("_run")


@contextmanager
def running(run: Run) -> Iterator[None]:
    """Inside, keywords count their steps in `run`."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def shortened(reason: str) -> str:
    """Shorten a reason to at most LONGEST_REASON characters."""
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 3]}..."


def counted_keywords(kind: Any) -> dict[str, Any]:
    """The functions that apply the keywords, by name.

    Args:
        kind: the library's class of validators for a draft.
    """
    from jsonschema import Draft202012Validator

    newest: Any = Draft202012Validator.VALIDATORS
    keywords = {**kind.VALIDATORS, **newest, **_OURS}
    for name in _NUMBERS:
        keywords[name] = _number(name)
    for name in ("$dynamicRef", "$recursiveRef"):
        keywords[name] = kind.VALIDATORS.get(name, newest["$ref"])
    keywords["unevaluatedItems"] = kind.VALIDATORS.get("unevaluatedItems", newest["unevaluatedItems"])
    keywords["unevaluatedProperties"] = _unevaluated_properties(
        kind.VALIDATORS.get("unevaluatedProperties", newest["unevaluatedProperties"])
    )
    keywords["format"] = _nothing
    return {name: _counted(name, keyword) for name, keyword in keywords.items()}


def _counted(name: str, keyword: Any) -> Any:
    """Make a keyword count its steps and ignore values that it cannot have."""

    def apply(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        run = _run.get()
        run.enter()
        try:
            if value is not None or name == "const":
                yield from keyword(validator, value, instance, schema) or ()
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, ArithmeticError):
            return  # a value that no draft knows for this keyword
        finally:
            run.depth -= 1

    return apply


def _error(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


def _shown(value: Any) -> str:
    """A value for a message, shortened so that the rest of the message fits."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]}...{text[-1]}"


def _nothing(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    return iter(())


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
    """A keyword about numbers, with the meaning that it has together with its neighbours."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        from jsonschema import Draft202012Validator

        name = next((name for name, word in modern(schema).items() if word.name == written), None)
        if name is not None:
            yield from Draft202012Validator.VALIDATORS[name](validator, value, instance, schema) or ()

    return check


def _enum(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import Draft202012Validator

    values = modern(schema)["enum"].value
    yield from Draft202012Validator.VALIDATORS["enum"](validator, values, instance, schema) or ()


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and _run.get().matches(value, instance) is False:
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
                if _run.get().matches(pattern, name):
                    yield from validator.descend(each, below, path=name, schema_path=pattern)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties") or {}, schema.get("patternProperties") or {}
    # A pattern that cannot be checked might allow the property.
    extra = [
        name
        for name in instance
        if name not in known and not any(_run.get().matches(each, name) is not False for each in patterns)
    ]
    if value is not False:
        for name in extra:
            yield from validator.descend(instance[name], value, path=name)
    elif extra:
        names, one = ", ".join(sorted(map(_shown, extra))), len(extra) == 1
        if patterns:
            regexes = ", ".join(map(repr, patterns))
            yield _error(f"{names} {'does' if one else 'do'} not match any of the regexes: {regexes}")
        else:
            verb = "was" if one else "were"
            yield _error(f"Additional properties are not allowed ({names} {verb} unexpected)")


def _unevaluated_properties(keyword: Any) -> Any:
    """The library's own keyword, used only without patternProperties, because it passes patterns to `re`."""

    def apply(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        run = _run.get()
        if run.has_pattern_properties:
            run.unchecked["unevaluatedProperties: cannot be checked beside patternProperties"] = None
        else:
            yield from keyword(validator, value, instance, schema) or ()

    return apply


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
                    yield _error(f"{other!r} is a dependency of {name!r}")


def _extends(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    for index, below in enumerate(value if isinstance(value, list) else [value]):
        yield from validator.descend(instance, below, schema_path=index)


def _disallow(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    for kind in value if isinstance(value, list) else [value]:
        if _fits(validator, instance, kind):
            yield _error(f"{kind!r} is disallowed for {_shown(instance)}")


_OURS: Mapping[str, Any] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "additionalItems": _nothing,  # _items handles them
    "items": _items,
    "prefixItems": _prefix_items,
    "dependencies": _dependencies,
    "extends": _extends,
    "disallow": _disallow,
}
