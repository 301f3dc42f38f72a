"""The deadline of one answer, and when the thinking has to end to meet it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_SHARE: Final = (1 / 4, 1 / 2)
"""Least and greatest share that is reserved for the answer, of the time between the prompt and the deadline."""
_ANSWER_TOKENS: Final = (256, 1024)
"""Tokens of a short and of a long answer. Within these shares, their time is reserved."""


class Deadline:
    """Steers one answer so that it ends in time.

    Args:
        seconds: until the deadline.
        clock: returns seconds since any fixed moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first = clock()
        self._due = self._first + seconds
        self._steps = 0

    def prompt_done(self) -> None:
        """Record that the prompt has been processed. The speed of the answer is measured from here on."""
        self._first = self._clock()

    def step(self) -> None:
        """Count a token that has been chosen."""
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
        # The pass over the prompt gave the first token.
        return (self._clock() - self._first) / (self._steps - 1) if self._steps > 1 else 0.0
