"""Translates regular expressions of schemas, which are ECMAScript's, for the grammar.

The grammar's engine takes the syntax of Rust's `regex`; its time is linear in the text. It has no look-around, word
boundaries or back references, so patterns with these cannot be enforced.
"""

from __future__ import annotations

import re

from qwen3cpu.text.pattern_syntax import UncheckedPatternError
from qwen3cpu.text.patterns import Budget, search

MOST_REPEATS = 1000
"""Largest product of the bounds of nested repeats; (a{0,30}){0,30} has 900. Automata of larger ones become huge."""
LONGEST = 4096
"""Most characters of a pattern."""
_ESCAPES = {"/": "/", "-": "-", "_": "_", "0": r"\x00", "e": r"\x1b"}
MOST_REPEATED = 100_000
"""Largest bound of one repeat."""
_GROUP = re.compile(r"\((\?(:|P?<[A-Za-z_]\w*>|[a-z]+[:)]))?")
_COUNTS = re.compile(r"\{([0-9]{1,9})(,([0-9]{0,9}))?\}")
_BRACES = re.compile(r"\{[A-Za-z0-9_=]{1,64}\}")
_SURROGATES = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)


def translated(pattern: str) -> str | None:
    """Translate a pattern of ECMAScript to the syntax of Rust's `regex`; None if it has no equivalent or is too large.

    The result is valid only if the pattern was; the engine checks that.
    """
    if len(pattern) > LONGEST or any("\ud800" <= character <= "\udfff" for character in pattern):
        return None
    pattern = _SURROGATES.sub(_joined, pattern)
    pieces: list[str] = []
    sizes = [1]  # product of repeats inside each open group
    last = 1  # product of repeats of the piece before
    place, in_class = 0, False
    while place < len(pattern):
        piece = _piece(pattern, place, in_class)
        if piece is None:
            return None
        text, length = piece
        if in_class:
            in_class = text != "]"
        elif text == "[":
            in_class, last = True, 1
        elif text.startswith("("):
            sizes += [1] if text[-1] != ")" else []
        elif text == ")":
            last = sizes.pop() if len(sizes) > 1 else 1
            sizes[-1] = max(sizes[-1], last)
        elif text.startswith("{"):
            inside, last = last, last * _most(text)
            sizes[-1] = max(sizes[-1], last)
            if last > (MOST_REPEATED if inside == 1 else MOST_REPEATS):
                return None
        elif text not in "?*+":
            last = 1
        pieces.append(text)
        place += length
    return "".join(pieces)


def _piece(pattern: str, place: int, in_class: bool) -> tuple[str, int] | None:
    """The next piece of a pattern, translated, and its length in the pattern."""
    character = pattern[place]
    if character == "\\":
        return _escape(pattern, place, in_class)
    if in_class:
        # Rust's classes have operators (&&, --, ~~) and nested classes, unlike ECMAScript's.
        return ("\\" + character if character in "[&~" else character), 1
    if character == "[":
        if pattern.startswith("[^]", place):
            return r"(?s:.)", 3
        if pattern.startswith("[]", place):
            return None
        return ("[^" if pattern.startswith("[^", place) else "["), (2 if pattern.startswith("[^", place) else 1)
    if character == "(":
        if pattern.startswith(("(?=", "(?!", "(?<=", "(?<!"), place):
            return None
        opening = _GROUP.match(pattern, place).group()  # type: ignore[union-attr]  # "(" matches
        return ("(" if "<" in opening else opening), len(opening)
    if character == "{":
        counts = _COUNTS.match(pattern, place)
        return (counts.group(), len(counts.group())) if counts else (r"\{", 1)
    return (r"\}" if character == "}" else character), 1


def _escape(pattern: str, place: int, in_class: bool) -> tuple[str, int] | None:
    following = pattern[place + 1 : place + 2]
    if following in "bB" or following in "123456789" or pattern.startswith(r"\k<", place):
        return (r"\x08", 2) if in_class and following == "b" else None
    if following == "c" and (letter := pattern[place + 2 : place + 3]).isalpha() and letter.isascii():
        return rf"\x{ord(letter) % 32:02x}", 3
    if following in "pPux" and (braces := _BRACES.match(pattern, place + 2)):
        return f"\\{following}{braces.group()}", 2 + len(braces.group())
    if following in _ESCAPES:
        text = _ESCAPES[following]
        return (f"\\{text}" if in_class and text == "-" else text), 2
    if following in "AzZ":
        return {"A": "^", "z": "$", "Z": "$"}[following], 2
    return pattern[place : place + 2], 2


def _joined(pair: re.Match[str]) -> str:
    """One character for the two halves of a surrogate pair."""
    high, low = (int(half, 16) for half in pair.groups())
    return rf"\u{{{0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF):x}}}"


def _most(counts: str) -> int:
    least, comma, most = _COUNTS.match(counts).groups()  # type: ignore[union-attr]
    return max(1, int((most or least) if comma else least))


def found_in(pattern: str, text: str, budget: Budget) -> bool | None:
    """Whether a pattern matches somewhere in a text; None if that cannot be checked. See text/patterns.py."""
    try:
        return search(pattern, text, budget)
    except UncheckedPatternError:
        return None
