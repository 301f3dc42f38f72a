r"""Rewrites ECMAScript's regular expressions in Python's syntax. patterns.py parses them with the standard library.

Syntax with different meanings is read as in ECMAScript: `a{,3}` is a text, `[a&&b]` has three characters, `[]` none.
Python's syntax that ECMAScript refuses, such as `(?P<name>...)` and `\A`, keeps its meaning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

Test = Callable[[str], bool]
"""Tells whether a character belongs to a set."""

_PROPERTIES: Final = 0x10FF00
"""Characters from here on (of a private use area) stand for Unicode properties in an expression."""
_LONG_NAMES: Final = {
    "Letter": "L",
    "Lowercase_Letter": "Ll",
    "Uppercase_Letter": "Lu",
    "Mark": "M",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Punctuation": "P",
    "Symbol": "S",
    "Separator": "Z",
}
_ESCAPE: Final = r"""
    \\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
    | \\(?P<kind>[pP])\{(?P<name>[^{}]*)\}
    | \\u\{(?P<code>[0-9a-fA-F]{1,6})\}
    | \\c(?P<control>[A-Za-z])
    | \\.
"""
_OUTSIDE: Final = re.compile(
    _ESCAPE + r"| (?P<group>\(\?<(?=[A-Za-z_])) | \[(?P<class>\^?(?:\\.|[^\]\\])*)\] | (?P<text>\{(?=,[0-9]*\}))",
    re.VERBOSE | re.DOTALL,
)
_INSIDE: Final = re.compile(_ESCAPE + r"| (?P<text>[\[&~|]) | (?P<minus>--)", re.VERBOSE | re.DOTALL)
_PLAIN_ESCAPES: Final = {r"\/": "/", r"\e": r"\x1b", r"\z": r"\Z"}


class UncheckedPatternError(Exception):
    """An expression cannot be searched for: its syntax is not supported, or it takes too many steps."""


def python_syntax(pattern: str) -> tuple[str, dict[int, Test]]:
    """Rewrite an expression in Python's syntax; also return tests for its placeholder characters, by code point.

    Raises:
        UncheckedPatternError: it has an unsupported Unicode property, or a character that does not exist.
    """
    properties: dict[int, Test] = {}
    return _OUTSIDE.sub(lambda found: _outside(found, properties), pattern), properties


def _outside(found: re.Match[str], properties: dict[int, Test]) -> str:
    if found["group"] is not None:
        return "(?P<"
    if found["text"] is not None:
        return r"\{"
    characters = found["class"]
    if characters is None:
        return _escape(found, properties)
    if characters == "":
        return r"[^\s\S]"
    if characters == "^":
        return r"[\s\S]"
    negated = characters[0] == "^"
    inside = _INSIDE.sub(lambda each: _inside(each, properties), characters[negated:])
    return f"[{'^' if negated else ''}{inside}]"


def _inside(found: re.Match[str], properties: dict[int, Test]) -> str:
    """Part of a class, with `&&`, `--`, `~~`, `||` and brackets escaped: neither language has them as operators."""
    if found["text"] is not None:
        return f"\\{found['text']}"
    if found["minus"] is not None:
        return r"\--" if found.start() == 0 else r"-\-"
    return _escape(found, properties)


def _escape(found: re.Match[str], properties: dict[int, Test]) -> str:
    if found["high"] is not None:
        code = 0x10000 + ((int(found["high"], 16) & 0x3FF) << 10) + (int(found["low"], 16) & 0x3FF)
        return re.escape(chr(code))
    if found["name"] is not None:
        place = _PROPERTIES + len(properties)
        if place > 0x10FFFD:
            raise UncheckedPatternError("it has too many Unicode properties")
        properties[place] = _property(found["name"], negated=found["kind"] == "P")
        return chr(place)
    if found["code"] is not None:
        code = int(found["code"], 16)
        if code > 0x10FFFF:
            raise UncheckedPatternError(f"\\u{{{found['code']}}} is not a character")
        return re.escape(chr(code))
    if found["control"] is not None:
        return f"\\x{ord(found['control']) % 32:02x}"
    return _PLAIN_ESCAPES.get(found[0], found[0])


def _property(name: str, *, negated: bool) -> Test:
    short = name.removeprefix("General_Category=").removeprefix("gc=")
    short = _LONG_NAMES.get(short, short)
    if not re.fullmatch("[CLMNPSZ][a-z]?", short):
        raise UncheckedPatternError(f"the Unicode property {name[:40]!r} is not supported")
    return lambda character: unicodedata.category(character).startswith(short) is not negated
