"""Cuts Markdown that is still being written into blocks that will not change, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from qwen3cpu.text.markdown_parser import markdown_parser

if TYPE_CHECKING:
    from markdown_it.token import Token

LONGEST_CODE: Final = 40
"""Lines of code in an open block above which it is cut, so that no block grows without end."""
LONGEST_PARAGRAPH: Final = 8000
"""Characters of a paragraph above which it is cut."""
_KEPT_CODE: Final = 10
"""Lines of code that stay in the rest at a cut."""


class Block(NamedTuple):
    """Markdown that is rendered by itself. goes_on: it continues the list or the code of the block before."""

    source: str
    goes_on: bool


class Blocks:
    """Takes text, and gives complete blocks. The last block always stays, because the next text may change it."""

    def __init__(self) -> None:
        self._text = ""
        self._goes_on = False

    def add(self, text: str) -> None:
        """Append new text."""
        self._text += text

    def take(self) -> list[Block]:
        """Return the complete blocks that were not returned before."""
        taken: list[Block] = []
        tokens = markdown_parser().parse(self._text)
        lines = self._text.splitlines(keepends=True)
        starts = _starts(tokens)
        for (line, goes_on), (following, _) in pairwise(starts):
            taken.append(Block("".join(lines[line:following]), goes_on or (self._goes_on and not taken)))
        if len(starts) > 1:
            self._text, self._goes_on = "".join(lines[starts[-1][0] :]), starts[-1][1]
        head = (self._take_code(tokens[-1]) or self._take_paragraph(tokens[-1])) if tokens else None
        return taken if head is None else [*taken, head]

    def rest(self) -> Block | None:
        """The incomplete text, including the last block; None without any."""
        return Block(self._text, self._goes_on) if self._text.strip() else None

    def end(self) -> None:
        """Forget the rest."""
        self._text, self._goes_on = "", False

    def _take_code(self, last: Token) -> Block | None:
        """The first lines of a long block of code that is not closed, preferably up to an empty line."""
        if last.type != "fence" or last.level:
            return None
        opening, *code = self._text.lstrip("\n").splitlines(keepends=True)
        if len(code) <= LONGEST_CODE or not opening.startswith(last.markup) or code[-1].strip() == last.markup:
            return None
        most = len(code) - _KEPT_CODE
        cut = next((line + 1 for line in range(most - 1, most // 2, -1) if not code[line].strip()), most)
        head = Block(f"{opening}{''.join(code[:cut])}{last.markup}\n", self._goes_on)
        self._text, self._goes_on = opening + "".join(code[cut:]), True
        return head

    def _take_paragraph(self, last: Token) -> Block | None:
        """The beginning of a very long paragraph, preferably up to the end of a line or sentence."""
        if last.type != "paragraph_close" or last.level or len(self._text) <= LONGEST_PARAGRAPH:
            return None
        begin, most = LONGEST_PARAGRAPH // 2, LONGEST_PARAGRAPH * 3 // 4
        cuts = (self._text.rfind(mark, begin, most) + len(mark) for mark in ("\n", ". ", " "))
        cut = next((cut for cut in cuts if cut > begin), most)
        head = Block(self._text[:cut], self._goes_on)
        self._text, self._goes_on = self._text[cut:], True
        return head


def _starts(tokens: Sequence[Token]) -> list[tuple[int, bool]]:
    """The first line of each block and of each item of a list, and whether it is a later item of its list."""
    starts: list[tuple[int, bool]] = []
    items = 0
    for token in tokens:
        if token.map is None:
            continue
        if token.level == 0:
            starts.append((token.map[0], False))
            items = 0
        elif token.level == 1 and token.type == "list_item_open":
            if items:
                starts.append((token.map[0], True))
            items += 1
    return starts
