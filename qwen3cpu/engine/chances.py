"""How often guesses of a kind turn out right, learned from what happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

LEAST_CHANCE: Final = 0.03
"""A token that is less likely to be right, with all before it, is worth no time on any machine."""


class Chances:
    """How often guesses were right, by kind: at first as guessed, and then by what was seen lately.

    Args:
        guesses: for each kind, 0 to 1.
        kind: the place in `guesses` of a guess, by what is known of it.
        weight: how many observations a first guess counts for.
        kept: how much of what was seen counts after one more observation, 0 to 1.
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
        """A guess of this kind was right, or was not."""
        kind = self._kind(known)
        self._right[kind] = self._right[kind] * self._kept + right
        self._seen[kind] = self._seen[kind] * self._kept + 1.0


def note_followed(table: Chances, length: int, tested: int, right: int) -> None:
    """Of the tokens that followed a match of this length so many were tested, and the first ones were right."""
    for ahead in range(min(tested, right + 1)):
        table.note(length + ahead, ahead < right)


def chances_ahead(table: Chances, length: int, most: int) -> list[float]:
    """The chance of each token that follows a match, as many as are of use.

    Args:
        table: by the length of a match; each token that is right makes it longer.
        length: of the match.
        most: tokens.
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
