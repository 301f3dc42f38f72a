"""Finds the blocks of a Markdown text that more text may change."""

from __future__ import annotations

import re

MOST_OPEN_LINES = 60
"""A formula that has not ended after this many lines counts as text."""
_BEGINNINGS = re.compile(r"^\s*(?:(\$\$)|(\\\[)|\\begin\{(\w+\*?)\})")


def open_line(lines: list[str], starts: list[int]) -> int:
    """The first line of the block that more text may change. The blocks before it are final.

    The last line may be incomplete, so its kind may change ("1" is a paragraph, "1. a" continues a list). Therefore a
    block that begins there is ignored, and the block before it counts as the last one.

    Args:
        lines: the lines of the text.
        starts: the first lines of its blocks, in order.
    """
    complete = len(lines) - 1
    begun = [start for start in starts if start < complete]
    last = begun[-1] if begun else 0
    for number in range(max(0, last - MOST_OPEN_LINES), last):
        if match := _BEGINNINGS.match(lines[number]):
            end = {1: "$$", 2: "\\]"}.get(match.lastindex or 0, f"\\end{{{match[3]}}}")
            rest = "\n".join([lines[number][match.end() :], *lines[number + 1 :]])
            if end not in rest:
                return max((start for start in starts if start <= number), default=0)
    return last
