"""Strings, numbers and listed values: what all facets require of them, as far as the grammar's engine takes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from qwen3cpu.generation.schemas.facets import Facet, Impossible
from qwen3cpu.generation.schemas.probing import IMPOSSIBLE, problem_of
from qwen3cpu.text.patterns import Budget
from qwen3cpu.text.schemas.checking import SchemaChecker
from qwen3cpu.text.schemas.keywords import FORMATS, UUID_FORMATS
from qwen3cpu.text.schemas.patterns import translated

LONGEST_COUNT = 1_000_000
"""Largest bound of a length that is enforced; no context holds more."""
LARGEST_MULTIPLE = 9_999
"""Largest `multipleOf`, with its digits read as a whole number; the automaton has that many states."""
MOST_SEARCH_STEPS = 3_000_000
"""Most steps of pattern searches while one schema is narrowed, a few seconds."""
MOST_JOINED = 8
"""Most patterns of one string; the engine's time doubles with each, and 24 take minutes."""
_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")


class Room:
    """The budgets of narrowing one schema.

    Args:
        multiples: states that `multipleOf` may take in the grammar.

    Attributes:
        searches: steps for searching patterns in names and listed values.
    """

    def __init__(self, multiples: int) -> None:
        self.multiples = multiples
        self.searches = Budget(MOST_SEARCH_STEPS)
        self._seen: set[str] = set()

    def take_multiple(self, limits: Mapping[str, tuple[float, str]]) -> bool:
        """Take room for a number with these limits; return whether there was enough. Equal limits take it once."""
        words = json.dumps({name: value for name, (value, _) in limits.items()}, sort_keys=True)
        size = int(_digits(limits["multipleOf"][0]))
        if words not in self._seen:
            if size > self.multiples:
                return False
            self.multiples -= size
            self._seen.add(words)
        return True


def count_of(facet: Facet, name: str) -> int:
    """The value of a keyword that is a count; 5.0 is 5."""
    value = facet.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
        raise facet.wrong(name, "a whole number, at least 0")
    return int(value)


def bounds_of(facets: Sequence[Facet], least: str, most: str, unenforced: list[str]) -> tuple[int, int | None]:
    """The narrowest bounds of all facets; counts above LONGEST_COUNT are left out."""
    low, high = 0, None
    for facet in facets:
        for name in (least, most):
            if name not in facet.words:
                continue
            count = count_of(facet, name)
            if count > LONGEST_COUNT:
                unenforced.append(facet.pointer(name))
            elif name == least:
                low = max(low, count)
            else:
                high = count if high is None else min(high, count)
    if high is not None and low > high:
        raise Impossible(place_of(facets), f"{least} {low} is more than {most} {high}")
    return low, high


def string_words(facets: Sequence[Facet], unenforced: list[str]) -> dict[str, Any]:
    """The keywords of a string for the engine."""
    low, high = bounds_of(facets, "minLength", "maxLength", unenforced)
    lengths = ({"minLength": low} if low else {}) | ({} if high is None else {"maxLength": high})
    patterns: dict[str, str] = {}
    formats: dict[str, str] = {}
    for facet in facets:
        if "pattern" in facet.words:
            rust = translated(facet.get("pattern"))
            problem = None if rust is None else problem_of({"type": "string", "pattern": rust})
            if rust is None or (problem is not None and IMPOSSIBLE not in problem):
                unenforced.append(facet.pointer("pattern"))
            elif len(patterns) < MOST_JOINED or rust in patterns:
                patterns[rust] = facet.pointer("pattern")
            else:
                unenforced.append(facet.pointer("pattern"))
        name = facet.get("format")
        if isinstance(name, str):
            if name in UUID_FORMATS:
                patterns[_uuid(name[-1])] = facet.pointer("format")
            elif name in FORMATS:
                formats[name] = facet.pointer("format")
            else:
                unenforced.append(facet.pointer("format"))
    for left_out in ((), formats.values(), patterns.values(), (*formats.values(), *patterns.values())):
        kept = [{"pattern": each} for each, place in patterns.items() if place not in left_out]
        kept += [{"format": each} for each, place in formats.items() if place not in left_out]
        words = lengths if not kept else {**lengths, **kept[0]} if len(kept) == 1 else {**lengths, "allOf": kept}
        problem = problem_of({"type": "string", **words}) if kept else None
        if problem is None:
            unenforced += left_out
            return words
        if IMPOSSIBLE in problem:
            raise Impossible(place_of(facets), "no text has this pattern, format and length")
    return lengths


def number_words(facets: Sequence[Facet], kind: str, unenforced: list[str], room: Room) -> dict[str, Any]:
    """The keywords of a number for the engine; kind is "integer" or "number"."""
    limits: dict[str, tuple[float, str]] = {}
    for facet in facets:
        for name in (*_LOWER, *_UPPER):
            if name in facet.words:
                value, place = _number(facet, name), facet.pointer(name)
                known = limits.get(name)
                if known is None or (value > known[0] if name in _LOWER else value < known[0]):
                    limits[name] = (value, place)
    divided = [facet for facet in facets if "multipleOf" in facet.words]
    multiples = {_number(facet, "multipleOf"): facet.pointer("multipleOf") for facet in divided}
    if multiples and min(multiples) <= 0:
        raise divided[0].wrong("multipleOf", "a number above 0")
    limits |= _multiple(multiples, unenforced)
    if "multipleOf" in limits and not room.take_multiple(limits):
        unenforced.append(limits.pop("multipleOf")[1])
    for left_out in ((), ("multipleOf",), _LOWER, _UPPER, (*_LOWER, *_UPPER), tuple(limits)):
        words = {name: value for name, (value, _) in limits.items() if name not in left_out}
        problem = problem_of({"type": kind, **words}) if words else None
        if problem is None:
            unenforced += [place for name, (_, place) in limits.items() if name in left_out]
            return words
        if IMPOSSIBLE in problem:
            raise Impossible(place_of(facets), f"no {kind} is within these bounds")
    return {}


def listed_values(facets: Sequence[Facet], kinds: set[str], room: Room, unenforced: list[str]) -> list[Any] | None:
    """The values of `enum` and `const` that all facets allow; None if no facet lists values."""
    lists = []
    for facet in facets:
        if "const" in facet.words:
            lists.append([facet.get("const")])
        if "enum" in facet.words:
            lists.append(facet.get("enum"))
    if not lists:
        return None
    left = {same(value): value for value in lists[0] if kind_of(value) in kinds and writable(value)}
    for values in lists[1:]:
        also = {same(value) for value in values}
        left = {key: value for key, value in left.items() if key in also}
    if any(_says_more(facet) for facet in facets):
        for facet in facets:
            checker = SchemaChecker(_own(facet))
            findings = {key: checker.check(value, room.searches) for key, value in left.items()}
            left = {key: value for key, value in left.items() if findings[key].allowed}
            if any(findings[key].unchecked for key in left):
                unenforced.append(facet.place.pointer)
    if not left:
        raise Impossible(place_of(facets), "no value satisfies all parts of the schema")
    values = list(left.values())
    problem = problem_of({"enum": values})
    if problem is not None:
        raise Impossible(place_of(facets), "the listed values cannot be written")
    return values


def same(value: Any) -> str:
    """A text that is the same for equal JSON values: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{same(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(same, value)) + "]"
    return json.dumps(value)


def kind_of(value: Any) -> str:
    """The type of a JSON value; "number" for a number with a fraction, "integer" for any other."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) or value.is_integer() else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def writable(value: Any) -> bool:
    """Whether a value can be written in UTF-8; half a surrogate pair cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


_BESIDE = {"type", "enum", "const", "format", "title", "description", "default", "anyOf", "oneOf"}


def _says_more(facet: Facet) -> bool:
    """Whether listed values may break other keywords of a facet."""
    return bool(facet.words.keys() - _BESIDE)


def _own(facet: Facet) -> dict[str, Any]:
    """The keywords of a facet itself, without those that refer elsewhere (which are facets of their own)."""
    apart = ("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "extends", "$id", "id", "$schema")
    return {name: value for name, value in facet.place.value.items() if name not in apart}


def _number(facet: Facet, name: str) -> float:
    value = facet.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise facet.wrong(name, "a number")
    return value


def _multiple(multiples: dict[float, str], unenforced: list[str]) -> dict[str, tuple[float, str]]:
    """The common multiple of all `multipleOf`; those that are too large or do not combine are left out."""
    kept: dict[str, tuple[float, str]] = {}
    for value, place in multiples.items():
        digits = _digits(value)
        whole = isinstance(value, int) or value.is_integer()
        together = None if not kept else kept["multipleOf"][0]
        if together is not None:
            value = math.lcm(int(value), int(together)) if whole and float(together).is_integer() else 0
        if not value or not digits.isdigit() or int(digits) > LARGEST_MULTIPLE or value > LARGEST_MULTIPLE:
            unenforced.append(place)
        else:
            kept["multipleOf"] = (int(value) if whole else value, place)
    return kept


def _digits(value: float) -> str:
    """The digits of a number, without its point and leading zeros; with an exponent the text is not all digits."""
    return str(value).replace(".", "").lstrip("0")


def _uuid(version: str) -> str:
    return f"^[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}$"


def place_of(facets: Sequence[Facet]) -> str:
    """The pointer of the first facet, for messages."""
    return facets[0].place.pointer if facets else ""
