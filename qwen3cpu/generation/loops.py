"""Tokens that repeat over and over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple


class LoopSize(NamedTuple):
    """What makes repetition a loop."""

    span: int
    """Tokens that it must have filled."""
    repeats: int
    """Times that the piece must have come."""


IN_THINKING: Final = LoopSize(span=512, repeats=4)
"""Closing the thinking costs little: the answer follows."""
IN_ANSWER: Final = LoopSize(span=4096, repeats=8)
"""An answer is cut off, and may repeat what it was asked to: 1000 zeros, or a sentence a hundred times."""
MOST_PERIOD: Final = 1024
_EVERY: Final = 64
"""Tokens between two searches for a loop."""


class LoopDetector:
    """Finds tokens that repeat over and over.

    A loop is a piece of up to 1024 tokens that has been repeated without any change, as often and over as many tokens
    as a size says. A table with a counter in it is none. It searches once every 64 tokens, which costs a few steps per
    token.

    Args:
        size: of a loop.
    """

    def __init__(self, size: LoopSize = IN_THINKING) -> None:
        self._size = size
        self._tokens: list[int] = []

    def push(self, token: int) -> bool:
        """Note a token. Whether it is known now to be in a loop."""
        self._tokens.append(token)
        return len(self._tokens) % _EVERY == 0 and period(self._tokens, self._size) is not None


def period(tokens: Sequence[int], size: LoopSize = IN_THINKING) -> int | None:
    """Length of the piece that the end of `tokens` repeats, if that is a loop.

    The prefix function of the reversed end (Knuth, Morris and Pratt) has the shortest period of every end, and the
    shortest periods grow with the ends: the search is over when they are too long.
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
