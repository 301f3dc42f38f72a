"""Which blocks of a text in Markdown more text may still change."""

from __future__ import annotations

import re

MOST_OPEN_LINES = 60
"""Lines after which a formula that has begun and not ended is taken for text."""
_BEGINNINGS = re.compile(r"^\s*(?:(\$\$)|(\\\[)|\\begin\{(\w+\*?)\})")


def open_line(lines: list[str], starts: list[int]) -> int:
    """The line where the block begins that more text may change; the blocks before it stay as they are.

    The last line may not be complete, so what it is may change yet ("1" is a paragraph, "1. a" goes on with a list).
    The block before it counts as the last one then.

    Args:
        lines: of the text.
        starts: lines at which its blocks begin, in order.
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
