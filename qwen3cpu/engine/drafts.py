"""Speculative decoding: a draft is a cheap guess of the tokens that follow, and one forward pass checks all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

MOST_DRAFTED = 32
"""Most tokens in one draft. Each costs a row of logits: 600 KB for a vocabulary of 151,936."""


class Draft(NamedTuple):
    """Tokens that may follow."""

    ids: Sequence[int] = ()
    """Tokens of the model's vocabulary."""
    chances: Sequence[float] = ()
    """How likely each is right if all before it are, 0 to 1."""

    @property
    def expected(self) -> float:
        """The expected number of right tokens."""
        total, chance = 0.0, 1.0
        for each in self.chances:
            chance *= each
            total += chance
        return total


class Drafter(Protocol):
    """Proposes the tokens of one answer. It changes the speed only: the model's own logits choose each token."""

    def extend(self, ids: Sequence[int]) -> None:
        """Append ids to the text: first the prompt, then the tokens of the answer."""
        ...

    def draft(self, most: int, found: float = 0) -> Draft:
        """Propose the tokens that may follow the text.

        Args:
            most: most tokens that can be used, at least one. Further tokens are cut off.
            found: expected tokens of the best draft so far. A slow drafter need not draft if it would not bring more.
        """
        ...

    def judge(self, tested: int, right: int) -> None:
        """Learn the outcome of the last draft: of its first `tested` tokens, `right` were those that followed."""
        ...
