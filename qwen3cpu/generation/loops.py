"""Reasoning that repeats the same tokens over and over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LEAST_SPAN: Final = 512
"""Tokens that a loop must have filled."""
LEAST_REPEATS: Final = 4
MOST_PERIOD: Final = 1024
_EVERY: Final = 64
"""Tokens between two searches for a loop."""


class LoopDetector:
    """Finds tokens that repeat over and over.

    A loop is a piece of up to 1024 tokens that has been repeated without any change: four times in a row, and over 512
    tokens. A table of equal rows or a list of zeros has to be very long for that, and one with a counter in it never
    is. It searches once every 64 tokens, which costs a few steps per token.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []

    def push(self, token: int) -> bool:
        """Note a token of the reasoning. Whether it is known now to be in a loop."""
        self._tokens.append(token)
        return len(self._tokens) % _EVERY == 0 and period(self._tokens) is not None


def period(tokens: Sequence[int]) -> int | None:
    """Length of the piece that the end of `tokens` repeats, if that is a loop.

    The prefix function of the reversed end (Knuth, Morris and Pratt) has the shortest period of every end, and the
    shortest periods grow with the ends: the search is over when they are too long.
    """
    end = list(tokens[: -LEAST_REPEATS * MOST_PERIOD - 1 : -1])
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
        if length >= max(LEAST_SPAN, LEAST_REPEATS * shortest):
            return shortest
    return None
