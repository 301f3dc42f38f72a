"""Forms of answers other than JSON: a regular expression, a choice of texts, or a grammar.

Each becomes a grammar in the Lark dialect of llguidance. Constructs that llguidance compiles in unbounded time are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from qwen3cpu.errors import ArgumentError

Kind = Literal["regex", "choices", "grammar"]
KINDS: Final[tuple[Kind, ...]] = ("regex", "choices", "grammar")
"""Options for the form of an answer. `schema` is the fourth; only one of the four may be given."""
MOST_CHARACTERS: Final = 1 << 16
"""Most characters of a regular expression, of a grammar, and of all choices together."""
MOST_CHOICES: Final = 10_000
MOST_RULES: Final = 1000
"""Most rules of a GBNF grammar. The time of llguidance's converter grows with their square."""
SHOWN: Final = 40
"""Characters of a wrong value that a message shows."""

_GBNF = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
_GBNF_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_LARK = re.compile(
    r"""
      (?P<text> "(?:\\.|[^"\\\n])*" | (?://|\#)[^\n]* | /(?:\\.|[^/\\\n])+/ )
    | (?P<directive> %[ \t]*\w+ (?:[ \t]*\{\})? )
    | (?P<attributes> ^[ \t]*[?!]?\w+[ \t]*\[ )
    | (?P<sign> [&~@<] )
    """,
    re.VERBOSE | re.MULTILINE,
)
_DIRECTIVES = ("%ignore", "%import", "%regex", "%llguidance{}")
_REFUSED = {
    "&": "intersections, which may take minutes",
    "~": "complements, which may take minutes",
    "@": "references to other grammars",
    "<": "tokens",
}
"""Refused signs outside of texts and regular expressions, and what they mean."""


@dataclass(frozen=True)
class AnswerForm:
    """The form of an answer without calls.

    Attributes:
        kind: the option that it comes from.
        lark: a whole grammar in llguidance's dialect; its rule `start` is the answer.
    """

    kind: Kind
    lark: str


def given_form(options: Mapping[str, Any], schema: object = None) -> AnswerForm | None:
    """Return the form that options ask for; None if none of KINDS is given.

    Args:
        options: may include those of KINDS; None means: not given.
        schema: the option of this name.

    Raises:
        ArgumentError: more than one of KINDS and `schema` is given, or one that cannot be followed.
    """
    kinds = [kind for kind in KINDS if options.get(kind) is not None]
    found: list[str] = [*([] if schema is None else ["schema"]), *kinds]
    if len(found) > 1:
        expected = "expected one of schema, regex, choices and grammar"
        raise ArgumentError(f"{found[-1]}: {expected}, found {' and '.join(found)}")
    if not kinds:
        return None
    value = options[kinds[0]]
    if kinds[0] == "choices":
        return AnswerForm("choices", _choices(value))
    text = _text(kinds[0], value)
    return AnswerForm(kinds[0], _regex(text) if kinds[0] == "regex" else _grammar(text))


def _text(kind: Kind, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{kind}: expected a string, found {type(value).__name__}")
    _check_size(kind, len(value))
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{kind}: expected characters, found half a surrogate pair at {error.start}") from None
    return value


def _check_size(kind: Kind, size: int) -> None:
    if size > MOST_CHARACTERS:
        raise ArgumentError(f"{kind}: expected at most {MOST_CHARACTERS} characters, found {size}")


def _regex(expression: str) -> str:
    """A rule that matches the whole expression. An expression in Lark has one line and no bare slash."""
    written = re.sub(r"\\.|[/\n]", _lark_escape, expression, flags=re.DOTALL)
    return f"start: /{written}/"


def _lark_escape(match: re.Match[str]) -> str:
    character = match[0][-1]
    if character in "/\n":
        return rf"\x{{{ord(character):x}}}"
    return match[0]


def _choices(given: object) -> str:
    if isinstance(given, str) or not isinstance(given, (list, tuple, set, frozenset)):
        raise ArgumentError(f"choices: expected a list of strings, found {type(given).__name__}")
    choices = sorted(given, key=str) if isinstance(given, (set, frozenset)) else list(given)
    if not choices:
        raise ArgumentError("choices: expected at least one string, found an empty list")
    if len(choices) > MOST_CHOICES:
        raise ArgumentError(f"choices: expected at most {MOST_CHOICES}, found {len(choices)}")
    size = 0
    for place, choice in enumerate(choices):
        if not isinstance(choice, str):
            raise ArgumentError(f"choices[{place}]: expected a string, found {type(choice).__name__}")
        size += len(choice)
        if any("\ud800" <= character <= "\udfff" for character in choice):
            raise ArgumentError(f"choices[{place}]: expected characters, found half a surrogate pair")
    _check_size("choices", size)
    return f"start: /{'|'.join(map(_literal, dict.fromkeys(choices)))}/"


def _literal(text: str) -> str:
    """An expression that matches this text only."""
    return "".join(each if each.isascii() and each.isalnum() else rf"\x{{{ord(each):x}}}" for each in text) or "()"


def _grammar(text: str) -> str:
    if _GBNF.search(text):
        text = _from_gbnf(text)
    for match in _LARK.finditer(text):
        refused = _REFUSED.get(match["sign"] or "")
        if match["attributes"] is not None:
            refused = "attributes of rules"
        elif match["directive"] is not None and re.sub(r"\s", "", match["directive"]) not in _DIRECTIVES:
            refused = f"the directive {match['directive'][:SHOWN]!r}"
        if refused is not None:
            raise ArgumentError(f"grammar: {_place(text, match.start())}: not supported: {refused}")
    return text


def _place(text: str, offset: int) -> str:
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}"


def _from_gbnf(text: str) -> str:
    """Convert a GBNF grammar of llama.cpp to Lark."""
    try:
        from llguidance.gbnf_to_lark import gbnf_to_lark
    except ImportError:
        raise ArgumentError("grammar: needs llguidance: pip install 'qwen3cpu[schema]'") from None
    if (rules := text.count("::=")) > MOST_RULES:
        raise ArgumentError(f"grammar: expected at most {MOST_RULES} rules, found {rules}")
    try:
        return gbnf_to_lark(_GBNF_ESCAPE.sub(_character, text))
    except RecursionError:
        raise ArgumentError("grammar: expected less nesting") from None
    except Exception as error:  # the converter raises this very class
        raise ArgumentError(f"grammar: {error}") from None


def _character(match: re.Match[str]) -> str:
    """Rewrite an escape of GBNF, because the converter drops leading zeros that Lark needs."""
    if match[1][0] not in "uU" or len(match[1]) == 1:
        return match[0]
    code = int(match[1][1:], 16)
    if code < 0x80:
        return rf"\x{code:02x}"
    return match[0] if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF else chr(code)
