"""The costs of a chat template's operations, in units of the characters and items that they read or make.

An upper bound is counted before an operation runs, because a small template can ask for more than any memory holds.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import chain
from typing import Any, Final

from jinja2.environment import Environment
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Undefined

STEP: Final = 200
"""Units of a step, in addition to those of the characters that it handles."""
ITEM: Final = 16
"""Units of copying or reading an item of a list or object."""

_NUMBERS: Final = re.compile(rb"\d+")
_FREE: Final = {"length", "count", "first", "last", "default", "d", "get"}
"""Filters and methods whose time does not depend on the length of the value."""
_SHALLOW: Final = {
    *("list", "batch", "slice", "reverse", "map", "select", "reject", "selectattr", "rejectattr", "items", "keys"),
    *("values", "random", "attr"),
}
"""Filters and methods that do not read the items of a value. Others may read every character and make text of it."""
_SORTING: Final = {"sort", "dictsort", "groupby"}
_CUTTING: Final = {"split", "rsplit", "splitlines", "title", "wordcount", "wordwrap", "urlize", "striptags"}
"""Filters and methods that make a list of pieces of a text."""
_COMPARING: Final = {
    **{"eq": "eq", "equalto": "eq", "==": "eq", "ne": "ne", "!=": "ne", "in": "in", "lt": "lt", "lessthan": "lt"},
    **{"<": "lt", "gt": "gt", "greaterthan": "gt", ">": "gt", "le": "lteq", "<=": "lteq", "ge": "gteq", ">=": "gteq"},
}
"""Names of tests and of comparison operators -> Jinja's name of the operator."""


class TemplateLimitError(Exception):
    """A template would exceed its limit of work."""


class Meter:
    """Counts the work of one rendering.

    Args:
        limit: most units.
    """

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def charge(self, units: int) -> None:
        """Count work. Raises TemplateLimitError when the limit is reached."""
        self._left -= units
        if self._left < 0:
            raise TemplateLimitError(
                f"it does more than the allowed {self._limit:,} units of work for these messages, so it probably loops "
                "or grows endlessly"
            )

    def deep(self, value: Any, *, each: int = 0, level: int = 0) -> int:
        """Count every character and item of a nested value, as often as it appears.

        Args:
            value: that is read or turned into text.
            each: additional units for each item.
            level: additional units for each item and each level around it.

        Returns:
            The units.
        """
        before = self._left
        open_values: list[Iterator[Any]] = [iter((value,))]
        while open_values:
            for inner in open_values[-1]:
                if isinstance(inner, (str, Undefined)) or inner is None:
                    self.charge(length(inner) + each + level * len(open_values) + (ITEM if len(open_values) > 1 else 0))
                    continue
                self.charge(ITEM + length(inner) + bits(inner) + each + level * len(open_values))
                inside = _inside(inner)
                if inside is not None:
                    open_values.append(iter(inside))
                    break
            else:
                open_values.pop()
        return before - self._left

    def hashed(self, value: Any) -> None:
        """Count the hash of a key. The hash of a tuple is computed again each time, from everything in it."""
        if isinstance(value, str):
            self.charge(len(value) // 8)
        elif isinstance(value, (tuple, frozenset)):
            self.deep(value)

    def compare(self, operator: str, left: Any, right: Any) -> None:
        """Count a comparison, by Jinja's name of the operator."""
        if operator not in ("in", "notin"):
            self._pair(left, right)
        elif isinstance(right, (str, bytes)):
            self.charge((length(left) + len(right)) // 8)
        elif isinstance(right, (Mapping, KeysView)):
            self.hashed(left)
        elif isinstance(right, (list, tuple, ValuesView, ItemsView)):
            for item in right:
                self.charge(ITEM // 8)
                if left is not item and not (
                    isinstance(left, str) and isinstance(item, str) and len(left) != len(item)
                ):
                    self._pair(left, item)
        else:
            self.charge(length(right) // 8)

    def _pair(self, left: Any, right: Any) -> None:
        """Count an upper bound for the comparison of two values, which ends early if they differ."""
        open_pairs: list[Iterator[tuple[Any, Any]]] = [iter(((left, right),))]
        while open_pairs:
            for one, other in open_pairs[-1]:
                self.charge(2 * ITEM + min(length(one), length(other)) // 8)
                inside = None if one is other else self._pairs_inside(one, other)
                if inside is not None:
                    open_pairs.append(inside)
                    break
            else:
                open_pairs.pop()

    def _pairs_inside(self, one: Any, other: Any) -> Iterator[tuple[Any, Any]] | None:
        if any(isinstance(one, kind) and isinstance(other, kind) for kind in (list, tuple)):
            return zip(one, other, strict=False)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            return self._pairs_of_mappings(one, other)
        if isinstance(one, (KeysView, ItemsView)) and isinstance(other, (KeysView, ItemsView)):
            self.deep(one)
            self.deep(other)
        return None

    def _pairs_of_mappings(self, one: Mapping[Any, Any], other: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        if len(one) != len(other):
            return
        for key, value in one.items():
            self.hashed(key)
            if key not in other:
                return
            yield value, other[key]

    def binary(self, operator: str, left: Any, right: Any) -> None:
        """Count one of Jinja's arithmetic operators."""
        if operator == "%" and isinstance(left, (str, bytes)):
            self.formatted(left, list(right) if isinstance(right, tuple) else [right])
        elif operator == "+":
            self.charge(length(left) + length(right) + (bits(left) + bits(right)) // 64)
        elif operator == "**":
            self.charge((bits(left) * abs(right)) ** 2 // 1000 if isinstance(right, int) else STEP)
        else:
            if operator == "*":
                for value, count in ((left, right), (right, left)):
                    if isinstance(count, int):
                        self.charge(length(value) * max(count, 0))
            self.charge(bits(left) * bits(right) // 1000)

    def test(self, name: str, args: Iterable[Any]) -> None:
        """Count one of Jinja's tests (`is ...`)."""
        self.charge(STEP)
        values = _data(args)
        if name in _COMPARING and len(values) > 1:
            self.compare(_COMPARING[name], *values[:2])
        elif name in ("upper", "lower"):
            self.deep(values[0])
        elif name == "divisibleby" and len(values) > 1:
            self.binary("%", *values[:2])

    def call(self, name: str, args: Iterable[Any], more: Mapping[str, Any]) -> None:
        """Count a filter, or a method with its object first.

        Args:
            name: of the filter or method.
            args: arguments by position; may include those that Jinja adds itself.
            more: arguments by name.
        """
        self.charge(STEP)
        args = _data(args)
        first = args[0] if args else None
        if name in ("index", "count") and isinstance(first, (list, tuple)) and len(args) > 1:
            self.compare("in", args[1], first)
            return
        if name in ("get", "fromkeys") and len(args) > 1:
            self.hashed(args[1])
        if name in _FREE and not (name == "count" and len(args) > 1):
            return
        values = [*args, *more.values()]
        numbers = sum(abs(each) for each in values if isinstance(each, int))
        texts = sum(len(each) for each in values[1:] if isinstance(each, (str, bytes)))
        each = level = 0
        if name == "tojson":
            each, level = texts + sum(map(_texts_in, values[1:])), numbers + texts
        for value in values:
            if name in _SHALLOW:
                self.charge(ITEM * _size(value))
                continue
            main = value is first
            units = self.deep(value, each=each if main else 0, level=level if main else 0)
            if main and name in _SORTING:
                self.charge(units * _size(value).bit_length())
        self.charge(_made(name, args, more, numbers, texts))
        if name in ("format", "format_map") and isinstance(first, (str, bytes)):
            self.formatted(first, values[1:])

    def formatted(self, text: str | bytes, values: list[Any]) -> None:
        """Count a text that is formatted. Its numbers may be widths; so may values, with * or nested {} in the text."""
        data = text.encode(errors="replace") if isinstance(text, str) else text
        self.charge(len(data) + sum(int(digits[:18]) for digits in _NUMBERS.findall(data)))
        fields = max(data.count(b"{"), data.count(b"%"))
        for value in values:
            # A named value may be inserted at every field.
            self.charge(self.deep(value) * max(fields - 1, 0))
            if isinstance(value, int) and (b"*" in data or data.count(b"{") > data.count(b"}{") + 1):
                self.charge(abs(value) * max(fields, 1))


_CONTAINERS: Final = (list, tuple, dict, set, frozenset, range, KeysView, ValuesView, ItemsView)


def length(value: Any) -> int:
    """Units of the characters or items of a value, without what is inside the items."""
    if isinstance(value, (str, bytes)):
        return len(value)
    return ITEM * _size(value)


def bits(value: Any) -> int:
    """Bits of a whole number; 0 for everything else."""
    return value.bit_length() if isinstance(value, int) else 0


def _size(value: Any) -> int:
    """Number of characters of a text, or of items of a container; 0 for everything else."""
    return len(value) if isinstance(value, (str, bytes, *_CONTAINERS)) else 0


def _count(text: str | bytes, part: str) -> int:
    return text.count(part) if isinstance(text, str) else text.count(part.encode())


def _texts_in(value: Any) -> int:
    """Characters of the texts in a list."""
    return sum(len(each) for each in value if isinstance(each, str)) if isinstance(value, (list, tuple)) else 0


def _data(args: Iterable[Any]) -> list[Any]:
    """Arguments without those that Jinja adds itself."""
    return [each for each in args if not isinstance(each, (Context, EvalContext, Environment))]


def _inside(value: Any) -> Iterable[Any] | None:
    """The items of a container, keys included; None for other values."""
    if isinstance(value, Mapping):
        return chain.from_iterable(value.items())
    return value if isinstance(value, (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)) else None


def _made(name: str, args: list[Any], more: Mapping[str, Any], numbers: int, texts: int) -> int:
    """Units of a call's result beyond its arguments: texts that are inserted many times, numbers that are widths.

    Args:
        name: of the filter or method.
        args: arguments by position, the object first.
        more: arguments by name.
        numbers: sum of all numbers among the arguments.
        texts: characters of all texts among the arguments, except the first one.
    """
    first = args[0] if args else None
    text = first if isinstance(first, (str, bytes)) else ""
    others = [*args[1:], *more.values()]
    cut = ITEM * len(text) if name in _CUTTING else 0
    if name == "replace":
        old = args[1] if len(args) > 1 else more.get("old")
        new = args[2] if len(args) > 2 else more.get("new")
        known = isinstance(old, type(text)) and text
        return ((text.count(old) if known else len(str(first))) + 1) * len(new if isinstance(new, bytes) else str(new))  # type: ignore[arg-type]
    if name == "join":
        return max(map(_size, (first, *others)), default=0) * max(texts, len(text))
    if name == "sum":
        lists = any(isinstance(each, (list, tuple)) for each in others)
        return _size(first) * sum(map(_size, first)) // 8 if lists and isinstance(first, (list, tuple)) else 0
    if name == "translate":
        longest = [max(map(_size, table.values()), default=0) for table in others if isinstance(table, Mapping)]
        return len(text) * max(longest, default=0)
    if name == "round":
        return (4 * numbers) ** 2 // 1000
    if name == "strftime":
        return 256 * texts  # a width in the format may make it 256 times as long
    if name == "wordwrap":
        return cut + len(text) * texts
    if name == "urlize":
        return cut + len(text) * (texts + sum(map(_texts_in, others))) // 4
    if name == "expandtabs":
        return (_count(text, "\t") + 1) * max(numbers, 8)
    if name in ("batch", "slice"):
        return ITEM * numbers
    return cut + (_count(text, "\n") + 1) * (numbers + (texts if name == "indent" else 0))
