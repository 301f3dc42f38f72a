"""The time of a pass over several tokens, relative to a single token, measured while answers run."""

from __future__ import annotations

from typing import Final

MOST_TOKENS: Final = 64
"""Passes of more tokens are not measured. They are limited by computation, so each token costs the same."""
FIRST_GUESS: Final = 0.1
"""Cost of a further token, as a fraction of a pass over one, until something has been measured."""
_RECENT: Final = 0.2
_KEPT: Final = 0.9


class PassTimes:
    """Learns how the time of a pass grows with its tokens.

    The machine's speed drifts, and with it all times. So the time for a number of tokens is kept as a multiple of the
    current time for one.
    """

    def __init__(self) -> None:
        self._one = 0.0
        """Estimated seconds of a pass over one token."""
        self._multiples: dict[int, float] = {1: 1.0}

    @property
    def seconds(self) -> float:
        """Current time of a pass over one token; 0 until one has been measured."""
        return self._one

    def note(self, tokens: int, seconds: float) -> None:
        """Record the time of a pass over `tokens` tokens, none of them of a prompt."""
        if not 1 <= tokens <= MOST_TOKENS or seconds <= 0:
            return
        if self._one == 0.0:
            self._one = seconds / self[tokens]
            return
        if tokens > 1:
            # The limits keep out a pass that was delayed by something else.
            seen = min(max(seconds / self._one, 0.5), 1.5 * self[tokens])
            self._multiples[tokens] = _KEPT * self[tokens] + (1 - _KEPT) * max(seen, 1.0)
        now = seconds / self[tokens]
        follow = _RECENT if tokens == 1 else _RECENT / 4
        self._one += follow * (min(now, 2 * self._one) - self._one)

    def __getitem__(self, tokens: int) -> float:
        """The time of a pass over `tokens` tokens, as a multiple of that for one."""
        known = self._multiples.get(tokens)
        if known is not None:
            return known
        below = max(each for each in self._multiples if each < tokens)
        above = min((each for each in self._multiples if each > tokens), default=None)
        if above is None:
            each = (self._multiples[below] - 1) / (below - 1) if below > 1 else FIRST_GUESS
            return self._multiples[below] + each * (tokens - below)
        part = (tokens - below) / (above - below)
        return (1 - part) * self._multiples[below] + part * self._multiples[above]
