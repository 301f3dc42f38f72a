r"""Parses the Markdown of models: with tables, struck-out text and formulas, and without HTML.

CommonMark would take `\(` for an escaped bracket, the `_` of a formula for emphasis, and the answer "42." for an empty
item of a list.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

FORMULA: Final = "formula"
"""The type of a token whose content is a formula with its delimiters."""
_FORMULA: Final = re.compile(
    r"\\\(.+?\\\)|\\\[.+?\\\]|\$\$.+?\$\$|\$(?![\s$])(?:[^$\\\n]|\\.)*?(?<![\s\\])\$(?!\d)", re.DOTALL
)
r"""\(...\), \[...\], $$...$$, and $...$ with no space just inside and no digit after, so "$5 and $6" stays text."""
_MARKER: Final = re.compile(r"(?:\d{1,9}[.)]|[-+*])\s*")
_LONGEST: Final = 10_000
"""Most characters of a formula, so that the search for the partner of a lone delimiter ends early."""


@cache
def markdown_parser() -> MarkdownIt:
    """The parser. Parsing does not change it."""
    # Imported here: it takes 50 ms, and most processes show no Markdown.
    from markdown_it import MarkdownIt

    # Images are off, so that a model's text cannot make a program fetch something.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    # Definitions of links are off, because they would not be shown.
    parser.disable(["image", "reference"])
    parser.inline.ruler.before("escape", FORMULA, _formula)
    parser.block.ruler.at("list", _list, {"alt": ["paragraph", "reference", "blockquote"]})
    return parser


def _list(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """A rule of the parser: whether a list begins here. A number or a dash alone is text."""
    from markdown_it.rules_block import list_block

    text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
    return _MARKER.fullmatch(text) is None and list_block(state, line, end, silent)


def _formula(state: StateInline, silent: bool) -> bool:
    """A rule of the parser: whether a formula begins here."""
    if state.src[state.pos] not in "\\$":
        return False
    found = _FORMULA.match(state.src, state.pos, min(state.posMax, state.pos + _LONGEST))
    if found is None:
        return False
    if not silent:
        state.push(FORMULA, "", 0).content = found[0]
    state.pos = found.end()
    return True
