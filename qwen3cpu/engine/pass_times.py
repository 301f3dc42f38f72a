"""What a pass over several tokens costs beside one over a single token, measured while answers run."""

from __future__ import annotations

from typing import Final

MOST_TOKENS: Final = 64
"""Passes of more tokens are not measured: the processor computes all the time there, and each token costs as much."""
FIRST_GUESS: Final = 0.1
"""Of a further token, as a part of a pass over one, while nothing has been measured."""
_RECENT: Final = 0.2
_KEPT: Final = 0.9


class PassTimes:
    """Learns how the time of a pass grows with its tokens.

    The machine's speed drifts, and with it all times: what is kept for a number of tokens is its time as a multiple of
    the time for one, as that is at the moment.
    """

    def __init__(self) -> None:
        self._one = 0.0
        """Seconds of a pass over one token, as far as can be told."""
        self._multiples: dict[int, float] = {1: 1.0}

    @property
    def seconds(self) -> float:
        """Of a pass over one token, at the moment; 0 while none has been measured."""
        return self._one

    def note(self, tokens: int, seconds: float) -> None:
        """A pass over so many tokens, none of a prompt, took so long."""
        if not 1 <= tokens <= MOST_TOKENS or seconds <= 0:
            return
        if self._one == 0.0:
            self._one = seconds / self[tokens]
            return
        if tokens > 1:
            # A pass that was held up says nothing of its tokens.
            seen = min(max(seconds / self._one, 0.5), 1.5 * self[tokens])
            self._multiples[tokens] = _KEPT * self[tokens] + (1 - _KEPT) * max(seen, 1.0)
        now = seconds / self[tokens]
        follow = _RECENT if tokens == 1 else _RECENT / 4
        self._one += follow * (min(now, 2 * self._one) - self._one)

    def __getitem__(self, tokens: int) -> float:
        """The time of a pass over so many tokens, as a multiple of that for one."""
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
