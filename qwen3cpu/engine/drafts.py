"""Speculative decoding: a draft is a cheap guess of the tokens that follow, and one forward pass checks all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

MOST_DRAFTED = 32
"""Tokens in one draft at most. Each costs a row of logits: 600 KB for a vocabulary of 151,936."""


class Draft(NamedTuple):
    """What may follow."""

    ids: Sequence[int] = ()
    """Tokens of the model's vocabulary."""
    chances: Sequence[float] = ()
    """How likely each is right if all before it are, 0 to 1."""

    @property
    def expected(self) -> float:
        """Tokens that are likely to be right."""
        total, chance = 0.0, 1.0
        for each in self.chances:
            chance *= each
            total += chance
        return total


class Drafter(Protocol):
    """Proposes the tokens of one answer. It changes the speed only: the model's own logits choose each token."""

    def extend(self, ids: Sequence[int]) -> None:
        """The text goes on with these: first the prompt, then the tokens of the answer."""
        ...

    def draft(self, most: int, found: float = 0) -> Draft:
        """What may follow the text.

        Args:
            most: tokens that are of use, at least one. What goes beyond is cut off.
            found: tokens that can be expected of a draft that is there already. A draft that takes time to make need
                not be made where it would bring no more.
        """
        ...

    def judge(self, tested: int, right: int) -> None:
        """Learn what became of the last draft: `right` of its first `tested` tokens were those that followed."""
        ...
