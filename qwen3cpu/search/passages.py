"""Splits texts into passages of about a quarter page, at headings, blank lines, lines and sentences, in this order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_CHARACTERS: Final = 1000
"""Most characters of a passage, about 250 tokens of English. It can answer a question but has only one topic."""

_HEADING: Final = re.compile(r"#{1,6}\s")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?;:])(?=\s)|(?<=[。！？；])")


class Passage(NamedTuple):
    """A piece of a text, and its first line, counted from 1."""

    text: str
    line: int


class _Block(NamedTuple):
    """Lines without a blank line between them."""

    text: str
    line: int
    is_heading: bool
    is_outermost: bool  # begins without indentation; in code it is a definition, not a part of one


def passages(text: str, *, markdown: bool = False, most: int = MOST_CHARACTERS) -> list[Passage]:
    """Split a text into passages, in order. Every character except white space is in exactly one of them.

    Args:
        text: the text of a file or a page.
        markdown: whether lines that begin with # are headings. Each heading begins a passage.
        most: most characters of a passage.
    """
    found: list[Passage] = []
    together: list[_Block] = []
    size = 0
    for block in _blocks(text, markdown, most):
        is_full = size + len(block.text) + 2 > most
        # If a passage is nearly full, a definition in code or a paragraph begins a new one.
        is_cut = block.is_heading or (block.is_outermost and size > most * 2 // 3)
        if together and (is_full or (is_cut and not all(each.is_heading for each in together))):
            found.append(_joined(together))
            together, size = [], 0
        together.append(block)
        size += len(block.text) + 2
    if together:
        found.append(_joined(together))
    return found


def _joined(blocks: list[_Block]) -> Passage:
    return Passage("\n\n".join(block.text for block in blocks), blocks[0].line)


def _blocks(text: str, markdown: bool, most: int) -> Iterator[_Block]:
    lines: list[str] = []
    start = 1
    fenced = False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if markdown and line.lstrip().startswith("```"):
            fenced = not fenced
        is_heading = markdown and not fenced and _HEADING.match(line) is not None
        if lines and (is_heading or not line.strip()):
            yield from _cut(lines, start, most, markdown)
            lines = []
        if line.strip():
            start = start if lines else number
            lines.append(line.rstrip())
            if is_heading:
                yield from _cut(lines, start, most, markdown)
                lines = []


def _cut(lines: list[str], start: int, most: int, markdown: bool) -> Iterator[_Block]:
    """Yield a block, or split it into blocks of as many lines as fit if it is too long."""
    is_heading = markdown and len(lines) == 1 and _HEADING.match(lines[0]) is not None
    together: list[str] = []
    first, size = start, 0
    for number, line in enumerate(lines, start):
        for piece in _pieces(line, most):
            if together and size + len(piece) + 1 > most:
                yield _Block("\n".join(together), first, False, False)
                together, first, size = [], number, 0
            together.append(piece)
            size += len(piece) + 1
    yield _Block("\n".join(together), first, is_heading, not lines[0][:1].isspace())


def _pieces(line: str, most: int) -> Iterator[str]:
    """Yield a line, or as many sentences as fit if it is too long. A sentence that is too long is cut anywhere."""
    if len(line) <= most:
        yield line
        return
    piece = ""
    for sentence in _SENTENCE_END.split(line):
        if piece.strip() and len(piece) + len(sentence) > most:
            yield piece.strip()
            piece = ""
        while len(sentence) > most:
            space = sentence.rfind(" ", most // 2, most)
            cut = most if space < 1 else space
            if sentence[:cut].strip():
                yield sentence[:cut].strip()
            sentence = sentence[cut:]
        piece += sentence
    if piece.strip():
        yield piece.strip()
