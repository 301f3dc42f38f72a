"""Checks values against JSON schemas within a bounded number of steps, whatever schema and value are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.patterns import Budget, UncheckedPatternError, search

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

MOST_PATTERN_STEPS: Final = 300_000
"""Steps of all patterns in one check, a few tenths of a second."""
MOST_KEYWORDS: Final = 100_000
"""Keywords applied in one check: references can make a small schema exponentially large."""
MOST_DEEP: Final = 140
"""Keywords inside each other: a reference to itself has no end. Values and schemas of 64 levels stay below it."""
LONGEST_REASON: Final = 300
"""Characters of a reason; that of a large schema would quote all of it."""


@dataclass(frozen=True)
class Findings:
    """What a check came to.

    Attributes:
        problem: what is wrong with the value, and where; None: nothing.
        unchecked: what was not checked, with the reason; the value may still be wrong there.
    """

    problem: str | None
    unchecked: tuple[str, ...] = ()


class SchemaChecker:
    """Checks values against one schema. May be used from several threads. Nothing is ever fetched.

    Args:
        schema: a JSON schema of any draft.
        where: what to call it in errors.

    Attributes:
        schema: a copy of what was given.

    Raises:
        ArgumentError: it is no JSON schema.
    """

    def __init__(self, schema: object, where: str) -> None:
        from jsonschema import exceptions, validators
        from referencing import Registry

        if not isinstance(schema, Mapping):
            raise ArgumentError(f"{where}: expected a JSON schema (a dict), found {schema!r}")
        kind: Any = validators.validator_for(schema)
        try:
            # Patterns are not compiled here: one in ECMAScript's syntax is no mistake.
            kind.check_schema(schema, format_checker=None)
            self.schema = _without_schema_keys(schema, top=True)
            self._has_pattern_properties = _has_key(self.schema, "patternProperties")
        except exceptions.SchemaError as error:
            place = "".join(f".{part}" for part in error.absolute_path)
            raise ArgumentError(f"{where}{place}: {shortened(error.message)}") from error
        except RecursionError:
            raise ArgumentError(f"{where}: expected less nesting") from None
        self._validator = _bounded(kind)(self.schema, registry=Registry())

    def check(self, value: Any, name: str) -> Findings:
        """Check a value.

        Args:
            value: built of JSON's own types.
            name: what to call it in findings.
        """
        from jsonschema import exceptions
        from referencing.exceptions import Unresolvable

        run = _Run(self._has_pattern_properties)
        token = _run.set(run)
        try:
            error = exceptions.best_match(self._validator.iter_errors(value))
        except (Unresolvable, RecursionError, _TooMuchError) as problem:
            return Findings(f"{name}: cannot be checked: {problem}", tuple(run.unchecked))
        except BaseException as problem:
            if type(problem).__name__ != "PanicException":
                raise
            # The end of Python's stack was met inside Rust. This exception is none of Exception's.
            return Findings(f"{name}: cannot be checked: references without an end", tuple(run.unchecked))
        finally:
            _run.reset(token)
        return Findings(None if error is None else _described(error, name), tuple(run.unchecked))


def shortened(reason: str) -> str:
    """A reason of at most LONGEST_REASON characters."""
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 3]}..."


class _TooMuchError(Exception):
    """A check takes too many steps."""


@dataclass
class _Run:
    """The state of one check."""

    has_pattern_properties: bool
    keywords: int = 0
    depth: int = 0
    patterns: Budget = field(default_factory=lambda: Budget(MOST_PATTERN_STEPS))
    unchecked: dict[str, None] = field(default_factory=dict)

    def enter(self) -> None:
        """Count a keyword."""
        self.keywords += 1
        self.depth += 1
        if self.keywords > MOST_KEYWORDS:
            raise _TooMuchError(f"the schema takes more than {MOST_KEYWORDS} steps")
        if self.depth > MOST_DEEP:
            # Python's own limit could be met inside a library that does not survive it.
            raise _TooMuchError(f"the schema applies more than {MOST_DEEP} keywords inside each other")

    def matches(self, pattern: str, text: str) -> bool | None:
        """Whether a text matches; None: it cannot be said."""
        try:
            return search(pattern, text, self.patterns)
        except UncheckedPatternError as reason:
            self.unchecked[f"pattern {shortened(repr(pattern))}: {reason}"] = None
            return None


_run: ContextVar[_Run] = ContextVar("_run")


def _described(error: ValidationError, name: str) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return f"{name}{place}: {error.message}"


@lru_cache(maxsize=16)
def _bounded(kind: type[Validator]) -> Any:
    """A class of validators whose steps are counted, and which leaves no pattern to `re`."""
    from jsonschema import validators

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties(kind.VALIDATORS.get("unevaluatedProperties")),
    }
    keywords = {name: own.get(name) or keyword for name, keyword in kind.VALIDATORS.items()}
    extend: Any = validators.extend
    return extend(kind, {name: _counted(keyword) for name, keyword in keywords.items()})


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def apply(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        run = _run.get()
        run.enter()
        yield from keyword(validator, value, instance, schema) or ()
        run.depth -= 1

    return apply


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError

    if validator.is_type(instance, "string") and _run.get().matches(pattern, instance) is False:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _run.get().matches(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError

    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    # A pattern of which nothing can be said may be the one that allows a property.
    extra = [
        name
        for name in instance
        if name not in known and not any(_run.get().matches(each, name) is not False for each in patterns)
    ]
    if validator.is_type(additional, "object"):
        for name in extra:
            yield from validator.descend(instance[name], additional, path=name)
    elif additional is False and extra:
        names, one = ", ".join(sorted(map(repr, extra))), len(extra) == 1
        if patterns:
            regexes = ", ".join(map(repr, patterns))
            yield ValidationError(f"{names} {'does' if one else 'do'} not match any of the regexes: {regexes}")
            return
        verb = "was" if one else "were"
        yield ValidationError(f"Additional properties are not allowed ({names} {verb} unexpected)")


def _unevaluated_properties(keyword: Any) -> Any:
    """The library's own keyword where it meets no pattern; it would hand patterns to `re`."""
    if keyword is None:
        return None

    def apply(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        run = _run.get()
        if run.has_pattern_properties:
            run.unchecked["unevaluatedProperties: cannot be checked beside patternProperties"] = None
        else:
            yield from keyword(validator, value, instance, schema) or ()

    return apply


def _without_schema_keys(value: Any, *, top: bool = False) -> Any:
    """A copy without `$schema` inside: the library would go on there with validators that count nothing."""
    if isinstance(value, Mapping):
        return {
            name: _without_schema_keys(each)
            for name, each in value.items()
            if top or name != "$schema" or not isinstance(each, str)
        }
    return [_without_schema_keys(each) for each in value] if isinstance(value, (list, tuple)) else value


def _has_key(value: Any, name: str) -> bool:
    if isinstance(value, Mapping):
        return name in value or any(_has_key(each, name) for each in value.values())
    return isinstance(value, list) and any(_has_key(each, name) for each in value)
