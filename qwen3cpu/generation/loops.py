"""Tokens that repeat over and over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple


class LoopSize(NamedTuple):
    """How much repetition is a loop."""

    span: int
    """Least number of tokens that it fills."""
    repeats: int
    """Least number of times that the piece comes."""


IN_THINKING: Final = LoopSize(span=512, repeats=4)
"""Low limits, because closing the thinking costs little: the answer follows."""
IN_ANSWER: Final = LoopSize(span=4096, repeats=8)
"""High limits, because the answer is cut off. A user may ask for 1000 zeros, or for a sentence a hundred times."""
MOST_PERIOD: Final = 1024
_EVERY: Final = 64
"""Tokens between two searches for a loop."""


class LoopDetector:
    """Finds tokens that repeat over and over.

    A loop is a piece of up to 1024 tokens that has been repeated without any change. `size` says how often, and over
    how many tokens. A table with a counter in it is not a loop. A search runs once every 64 tokens, which costs a few
    steps per token.

    Args:
        size: least size of a loop.
    """

    def __init__(self, size: LoopSize = IN_THINKING) -> None:
        self._size = size
        self._tokens: list[int] = []

    def push(self, token: int) -> bool:
        """Add a token. Return whether a search at this token has found a loop."""
        self._tokens.append(token)
        return len(self._tokens) % _EVERY == 0 and period(self._tokens, self._size) is not None


def period(tokens: Sequence[int], size: LoopSize = IN_THINKING) -> int | None:
    """Length of the piece that the end of `tokens` repeats; None if that is not a loop.

    The prefix function of the reversed tokens (Knuth, Morris and Pratt) gives the shortest period of every end. The
    period of a longer end is at least as long, so the search stops when it is too long.
    """
    end = list(tokens[: -size.repeats * MOST_PERIOD - 1 : -1])
    borders = [0]
    border = 0
    for place in range(1, len(end)):
        while border and end[place] != end[border]:
            border = borders[border - 1]
        border += end[place] == end[border]
        borders.append(border)
        length, shortest = place + 1, place + 1 - border
        if shortest > MOST_PERIOD:
            return None
        if length >= max(size.span, size.repeats * shortest):
            return shortest
    return None
