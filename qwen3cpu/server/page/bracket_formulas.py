r"""Rules for markdown-it: formulas between \( and \), and between \[ and \], as models write them."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from qwen3cpu.server.page.open_blocks import MOST_OPEN_LINES

ENDS = {"\\(": "\\)", "\\[": "\\]"}
"""Beginning of a formula -> its end."""


def bracket_formulas(parser: MarkdownIt) -> None:
    """Add the rules for these formulas to a parser."""
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "bracket_block", _block, interrupts)
    parser.inline.ruler.before("escape", "bracket_inline", _inline)


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""A formula that begins a line with \[ and ends one with \]."""
    begin = state.bMarks[start] + state.tShift[start]
    if not state.src.startswith("\\[", begin) or state.is_code_block(start):
        return False
    for line in range(start, min(end, start + MOST_OPEN_LINES)):
        if not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return False
        found = state.src.find("\\]", begin if line == start else state.bMarks[line], state.eMarks[line])
        if found < 0:
            continue
        if state.src[found + 2 : state.eMarks[line]].strip():
            return False  # a text follows, so the inline rule handles it
        if not silent:
            token = state.push("math_block", "math", 0)
            token.block = True
            token.content = state.getLines(start, line + 1, state.blkIndent, False).strip()[2:-2]
            token.map = [start, line + 1]
        state.line = line + 1
        return True
    return False


def _inline(state: StateInline, silent: bool) -> bool:
    """A formula inside a text."""
    begin = state.src[state.pos : state.pos + 2]
    if begin not in ENDS:
        return False
    found = state.src.find(ENDS[begin], state.pos + 2, state.posMax)
    if found < 0 or not state.src[state.pos + 2 : found].strip():
        return False
    if not silent:
        token = state.push("math_inline" if begin == "\\(" else "math_inline_double", "math", 0)
        token.content = state.src[state.pos + 2 : found]
    state.pos = found + 2
    return True
