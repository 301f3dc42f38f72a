"""The time in which one answer has to be complete, and what it leaves for the thinking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_SHARE: Final = (1 / 4, 1 / 2)
"""Of the time that a deadline leaves after the prompt, what the answer gets at least and at most."""
_ANSWER_TOKENS: Final = (256, 1024)
"""What time should be left for, within these shares: tokens of an answer, from short to long."""


class Deadline:
    """Steers one answer so that it ends in time.

    Args:
        seconds: from now on.
        clock: seconds, from any moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first = clock()
        self._due = self._first + seconds
        self._steps = 0

    def prompt_done(self) -> None:
        """Note that the prompt has been processed. The speed of the answer is measured from here on."""
        self._first = self._clock()

    def step(self) -> None:
        """Note that another token has been chosen."""
        self._steps += 1

    @property
    def passed(self) -> bool:
        """Whether another token would come too late."""
        return self._clock() + self._token_seconds() > self._due

    @property
    def answer_due(self) -> bool:
        """Whether the thinking has to end here, so that the answer has time at the speed measured so far."""
        left = self._due - self._first
        token = self._token_seconds()
        least, most = (share * left for share in _SHARE)
        short, long = (tokens * token for tokens in _ANSWER_TOKENS)
        reserve = min(most, max(short, min(least, long)))
        return self._clock() + reserve >= self._due

    def _token_seconds(self) -> float:
        # The first token came with the prompt.
        return (self._clock() - self._first) / (self._steps - 1) if self._steps > 1 else 0.0
