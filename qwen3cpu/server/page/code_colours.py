"""Colours of code, by Pygments."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Error, Generic, Keyword, Literal, Name, Number, String, Token
from pygments.util import ClassNotFound

from qwen3cpu.server.page.nodes import Node, element

Kind = Any
"""A kind of token of Pygments."""
MOST_COLOURED = 1 << 15
"""Longer code, in characters, gets no colours, because it has too many elements for a browser to add at once."""

CLASSES: dict[Kind, str] = {
    Comment: "comment",
    Generic.Deleted: "deleted",
    Generic.Inserted: "inserted",
    Generic.Heading: "keyword",
    Generic.Subheading: "keyword",
    Keyword: "keyword",
    Keyword.Type: "type",
    Literal: "number",
    Name.Attribute: "attribute",
    Name.Builtin: "builtin",
    Name.Class: "type",
    Name.Decorator: "attribute",
    Name.Exception: "type",
    Name.Function: "function",
    Name.Tag: "keyword",
    Name.Variable: "attribute",
    Number: "number",
    String: "string",
    Error: "",
    Token: "",
}
"""Kind of token -> class in assets/code.css, also for subkinds without a row; "" for none."""


def coloured(code: str, language: str) -> list[Node]:
    """Code as texts and coloured spans.

    Args:
        code: its text.
        language: a name or alias of Pygments. Code in an unknown language has no colours.
    """
    lexer = _lexer(language)
    if lexer is None or len(code) > MOST_COLOURED:
        return [code]
    pieces: list[tuple[str, str]] = []
    for kind, text in lexer.get_tokens(code):
        name = _class(kind)
        if pieces and (pieces[-1][0] == name or not text.strip()):
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + text)
        elif text:
            pieces.append((name, text))
    return [element("span", text, class_=name) if name else text for name, text in pieces]


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    if not language:
        return None
    try:
        return get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _class(kind: Kind) -> str:
    while kind not in CLASSES:
        kind = kind.parent
    return CLASSES[kind]
