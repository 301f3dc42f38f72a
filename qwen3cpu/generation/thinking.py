"""When a model thinks, and what ends its thinking beside its own will: soft switches, deadlines, loops."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

ClosedBy = Literal["budget", "deadline", "loop"]

_SWITCH: Final = re.compile(r"(?<!\S)/(no_)?think(?!\S)")

LEAST_SPAN: Final = 512
"""Tokens that a loop must have filled."""
LEAST_REPEATS: Final = 4
MOST_PERIOD: Final = 1024
_EVERY: Final = 64
"""Tokens between two searches for a loop."""

_SHARE: Final = (1 / 4, 1 / 2)
"""Of the time that a deadline leaves after the prompt, what the answer gets at least and at most."""
_ANSWER_TOKENS: Final = (256, 1024)
"""What time should be left for, within these shares: tokens of an answer, from short to long."""


def latest_switch(prompt: Any) -> bool | None:
    """What the last /think or /no_think of the user or system text says; None when there is none.

    It counts where it stands alone between white space, as in training: not in a path, nor in the text of a tool.

    Args:
        prompt: text of a user, or messages, checked or not; anything else has no switch.
    """
    if isinstance(prompt, str):
        found = [match[1] is None for match in _SWITCH.finditer(prompt)]
        return found[-1] if found else None
    if not isinstance(prompt, (list, tuple)):
        return None
    for message in reversed(prompt):
        if isinstance(message, Mapping) and message.get("role") in ("user", "system"):
            switch = latest_switch(_text(message.get("content")))
            if switch is not None:
                return switch
    return None


def _text(content: Any) -> str:
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


class LoopDetector:
    """Finds out that the same tokens come over and over.

    A loop is a piece of up to 1024 tokens that has been repeated without any change: four times in a row, and over 512
    tokens. A table of equal rows or a list of zeros has to be very long for that, and one with a counter in it never
    is. Every 64 tokens the end is searched, which takes a few steps per token.
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
        """The prompt has been processed: what is measured from here on is the speed of the answer."""
        self._first = self._clock()

    def step(self) -> None:
        """Another token has been chosen."""
        self._steps += 1

    @property
    def passed(self) -> bool:
        """Whether another token would come too late."""
        return self._clock() + self._token_seconds() > self._due

    @property
    def answer_due(self) -> bool:
        """Whether the answer has to begin now, so that time is left for it at the speed measured so far."""
        left = self._due - self._first
        token = self._token_seconds()
        least, most = (share * left for share in _SHARE)
        short, long = (tokens * token for tokens in _ANSWER_TOKENS)
        reserve = min(most, max(short, min(least, long)))
        return self._clock() + reserve >= self._due

    def _token_seconds(self) -> float:
        # The first token came with the prompt.
        return (self._clock() - self._first) / (self._steps - 1) if self._steps > 1 else 0.0
