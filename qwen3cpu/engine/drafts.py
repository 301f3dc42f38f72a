"""Speculative decoding: a draft is a cheap guess of the tokens that follow, and one forward pass checks all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

MOST_DRAFTED = 32
"""Tokens in one draft at most. Each costs a row of logits: 600 KB for a vocabulary of 151,936."""


class Drafter(Protocol):
    """Proposes tokens. It changes the speed of an answer only: every token is chosen from the model's own logits."""

    def draft(self, tokens: Sequence[int], most: int) -> Sequence[int]:
        """What may follow `tokens`.

        Args:
            tokens: the prompt and the answer so far.
            most: tokens that are of use, at least one. What goes beyond is cut off.

        Returns:
            Ids of the model's vocabulary, perhaps none.
        """
        ...
