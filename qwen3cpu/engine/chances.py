"""How often guesses of a kind turn out right, learned from observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

LEAST_CHANCE: Final = 0.03
"""Least chance that a drafted token and all before it are right. Below it, drafting costs more than it saves."""


class Chances:
    """How often guesses of each kind were right: first estimates, then moving averages of recent observations.

    Args:
        guesses: the first estimate for each kind, 0 to 1.
        kind: maps the known property of a guess to its kind, an index of `guesses`.
        weight: how many observations a first estimate counts for.
        kept: the factor by which one more observation reduces the weight of the earlier ones, 0 to 1.
    """

    def __init__(self, guesses: Sequence[float], kind: Callable[[float], int], *, weight: float, kept: float) -> None:
        self._kind = kind
        self._kept = kept
        self._right = [guess * weight for guess in guesses]
        self._seen = [weight] * len(guesses)

    def __getitem__(self, known: float) -> float:
        kind = self._kind(known)
        return self._right[kind] / self._seen[kind]

    def note(self, known: float, right: bool) -> None:
        """Record whether a guess of this kind was right."""
        kind = self._kind(known)
        self._right[kind] = self._right[kind] * self._kept + right
        self._seen[kind] = self._seen[kind] * self._kept + 1.0


def note_followed(table: Chances, length: int, tested: int, right: int) -> None:
    """Record that, of `tested` tokens drafted after a match of this length, the first `right` were right."""
    for ahead in range(min(tested, right + 1)):
        table.note(length + ahead, ahead < right)


def chances_ahead(table: Chances, length: int, most: int) -> list[float]:
    """The chance of each token that follows a match, for as many tokens as are worth drafting.

    Args:
        table: chances by the length of a match; each right token makes the match longer.
        length: of the match.
        most: most tokens.
    """
    chances: list[float] = []
    all_right = 1.0
    for ahead in range(most):
        chance = table[length + ahead]
        all_right *= chance
        if all_right < LEAST_CHANCE:
            break
        chances.append(chance)
    return chances
