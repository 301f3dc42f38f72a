"""Checks values against schemas of every draft, in a bounded number of steps, without fetching anything.

The library jsonschema does the work. It would refuse keywords of other drafts, and hang on regular expressions that
backtrack and on schemas whose check is endless. This file and check_keywords.py replace those parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from qwen3cpu.errors import ArgumentError, is_panic
from qwen3cpu.text.patterns import Budget
from qwen3cpu.text.schemas.check_keywords import Run, TooMuchError, counted_keywords, running, shortened
from qwen3cpu.text.schemas.dialects import IDENTIFIERS, LONGEST_REFERENCE, REFERENCES
from qwen3cpu.text.schemas.reading import pointer_to

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MOST_PATTERN_STEPS: Final = 300_000
"""Most steps of all patterns in one check, a few tenths of a second."""
MOST_NAMED: Final = 8
"""Most mistakes that are listed."""
_MOST_FOUND: Final = 64
"""Most mistakes among which the best one is chosen."""
NOT_CHECKED: Final = "not checked to the end"
"""Beginning of the message for a check that had to stop."""


@dataclass(frozen=True)
class Mistake:
    """What is wrong at one place of a value.

    Attributes:
        path: names and indices that lead there.
        problem: what is wrong.
    """

    path: tuple[str | int, ...]
    problem: str


@dataclass(frozen=True)
class Findings:
    """The result of a check.

    Attributes:
        mistakes: what is wrong, at most MOST_NAMED of them.
        best: the most informative one; None: nothing is wrong.
        stopped: why the check had to stop before its end; None: it did not.
        unchecked: the parts that were not checked, with the reason; the value may be wrong there.
    """

    mistakes: tuple[Mistake, ...] = ()
    best: Mistake | None = None
    stopped: str | None = None
    unchecked: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether no mistake was found. Parts that could not be checked count as right."""
        return not self.mistakes

    def problem(self, name: str) -> str | None:
        """The problem of a value of this name, as in "arguments.a[0]: ..."; None: the check ended without a mistake."""
        if self.stopped is not None:
            return f"{name}: cannot be checked: {self.stopped}"
        if self.best is None:
            return None
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.best.path)
        return f"{name}{place}: {self.best.problem}"

    def listed(self) -> tuple[str, ...]:
        """All mistakes as "place: problem", where the place is a JSON pointer into the value."""
        named = [(pointer_to(*each.path), each.problem) for each in self.mistakes]
        lines = [shortened(f"{place}: {problem}" if place else problem) for place, problem in named]
        return tuple(lines if self.stopped is None else [*lines, shortened(f"{NOT_CHECKED}: {self.stopped}")])


class SchemaChecker:
    """Checks values against one schema. May be used from several threads. Nothing is fetched.

    Args:
        schema: of JSON's own types, of any draft. Keywords with values that no draft knows are ignored.

    Attributes:
        schema: the copy of the schema that values are checked against.

    Raises:
        ArgumentError: it is nested too deeply.
    """

    def __init__(self, schema: Any) -> None:
        from referencing import Registry

        kind = _kind(schema)
        make = _validator_class(kind)
        try:
            self.schema = _plain(schema, IDENTIFIERS if kind.ID_OF({"id": "a"}) else IDENTIFIERS[:1])
            self._has_pattern_properties = _has_key(self.schema, "patternProperties")
        except RecursionError:
            raise ArgumentError("schema: expected less nesting") from None
        # With an empty registry of its own the validator fetches nothing.
        self._validator = make(self.schema, registry=Registry())

    def check(self, value: Any, budget: Budget | None = None) -> Findings:
        """Check a value.

        Args:
            value: of JSON's own types.
            budget: of steps of patterns that several checks share; None: MOST_PATTERN_STEPS for this one.
        """
        from referencing.exceptions import Unresolvable

        run = Run(self._has_pattern_properties, budget or Budget(MOST_PATTERN_STEPS))
        found: list[Any] = []
        stopped = None
        with running(run):
            try:
                found.extend(islice(self._validator.iter_errors(value), _MOST_FOUND))
            except TooMuchError as problem:
                stopped = str(problem)
            except Unresolvable as problem:
                stopped = shortened(str(problem))
            except RecursionError:
                stopped = "references without an end"
            except BaseException as problem:
                if not is_panic(problem):  # the library reached the end of Python's stack inside Rust
                    raise
                stopped = "references without an end"
        mistakes = tuple(map(_mistake, found[:MOST_NAMED]))
        return Findings(mistakes, _best(found), stopped, tuple(run.unchecked))


def schema_problem(schema: Any) -> str | None:
    """Why a value is not a JSON schema of the draft that it names, as "pointer: problem"; None: it is one.

    Patterns are not checked, because ECMAScript's syntax is allowed.
    """
    from jsonschema import exceptions

    if not isinstance(schema, Mapping):
        return f"expected a JSON schema (an object), found {shortened(repr(schema))}"
    try:
        _kind(schema).check_schema(schema, format_checker=None)
    except exceptions.SchemaError as error:
        place = pointer_to(*error.absolute_path)
        return f"{place}: {shortened(error.message)}" if place else shortened(error.message)
    except RecursionError:
        return "expected less nesting"
    except BaseException as error:
        if not is_panic(error):
            raise
        return "expected less nesting"
    return None


def _best(errors: list[Any]) -> Mistake | None:
    """The most informative error."""
    from jsonschema import exceptions

    if not errors:
        return None
    try:
        return _mistake(exceptions.best_match(iter(errors)))
    except (exceptions.UndefinedTypeCheck, TypeError):
        return _mistake(errors[0])  # the library fails on a value of `type` that no draft knows


def _mistake(error: Any) -> Mistake:
    return Mistake(tuple(error.absolute_path), shortened(error.message))


def _kind(schema: Any) -> Any:
    """The library's class for the draft of a schema; the newest draft if it names no known one."""
    from jsonschema import Draft202012Validator, validators

    named = isinstance(schema, Mapping) and isinstance(schema.get("$schema"), str)
    return validators.validator_for(schema, default=Draft202012Validator) if named else Draft202012Validator


@lru_cache(maxsize=16)
def _validator_class(kind: type[Validator]) -> Any:
    """A class of validators with the keywords of check_keywords.py, and the identifiers and types of a draft."""
    from jsonschema import validators

    extend: Any = validators.extend
    return extend(kind, counted_keywords(kind))


def _plain(value: Any, identifiers: tuple[str, ...]) -> Any:
    """A copy without `$schema` and long references.

    At a `$schema` inside, the library would continue with validators that do not count steps. The standard library
    caches the texts of references.
    """
    if isinstance(value, Mapping):
        copy = {name: _plain(each, identifiers) for name, each in value.items()}
        for name in ("$schema", *identifiers, *REFERENCES):
            text = copy.get(name)
            if isinstance(text, str):
                if name == "$schema" or (name in identifiers and len(text) > LONGEST_REFERENCE):
                    del copy[name]
                elif len(text) > LONGEST_REFERENCE:
                    copy[name] = f"#/{text[:20]}... (a reference of more than {LONGEST_REFERENCE} characters)"
        return copy
    return [_plain(each, identifiers) for each in value] if isinstance(value, (list, tuple)) else value


def _has_key(value: Any, name: str) -> bool:
    if isinstance(value, Mapping):
        return name in value or any(_has_key(each, name) for each in value.values())
    return isinstance(value, list) and any(_has_key(each, name) for each in value)
