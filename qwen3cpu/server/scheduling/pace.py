"""How many tokens of prompts and texts go into a step, from what steps have taken on this machine."""

from __future__ import annotations

from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.retrieval.window import LEAST_PIECE

GOAL_SECONDS = 0.35
"""What a step with running answers in it should take: well below a second, so that a slow step is not a stall."""
FIRST_SHARE = 16
"""Prompt tokens in the first such step, while nothing has been measured."""
LEAST_SHARE = 8
"""A prompt goes on at least this fast, however slow the machine."""


class Pace:
    """Predicts the time of a step as that of its running answers plus so much for each prompt token.

    The second part grows with the context and with the load of the machine, so it is measured in every step: a slower
    step counts at once, faster ones gradually.

    Args:
        goal: seconds of a step.
    """

    def __init__(self, goal: float = GOAL_SECONDS) -> None:
        self._goal = goal
        self._decode = 0.0
        self._per_token: float | None = None

    def chunk(self, running: int, shared: bool = False) -> int:
        """Tokens of the next step at most.

        Args:
            running: tokens of it that belong to answers.
            shared: whether other models wait for its end. Without that, and with no answer running, it is a full chunk.
        """
        if not running and not shared:
            return CHUNK
        if self._per_token is None:
            return running + FIRST_SHARE
        share = (self._goal - self._decode) / self._per_token
        return running + int(min(max(share, LEAST_SHARE), CHUNK))

    def note(self, running: int, prompt_tokens: int, seconds: float) -> None:
        """What a step took that had this many tokens of running answers and of prompts."""
        if not prompt_tokens:
            self._decode = _follow(self._decode, seconds)
            return
        each = max(seconds - (self._decode if running else 0.0), seconds / 10) / prompt_tokens
        self._per_token = each if self._per_token is None else _follow(self._per_token, each)


class TextPace:
    """How many tokens of texts go into a pass: so many that a request which comes meanwhile has its turn soon.

    Passes of this size read the weights often enough to keep the processor busy; larger ones gain nothing.

    Args:
        goal: seconds of a pass.
    """

    def __init__(self, goal: float = GOAL_SECONDS) -> None:
        self._goal = goal
        self._per_token: float | None = None

    @property
    def tokens(self) -> int:
        """Of the next pass at most."""
        if self._per_token is None:
            return LEAST_PIECE
        return int(min(max(self._goal / self._per_token, LEAST_PIECE), CHUNK))

    def note(self, tokens: int, seconds: float) -> None:
        """What a pass took. A small one says nothing: it waits for the weights."""
        if tokens >= LEAST_PIECE // 2:
            each = seconds / tokens
            self._per_token = each if self._per_token is None else _follow(self._per_token, each)


def _follow(known: float, seen: float) -> float:
    return seen if seen > known else 0.75 * known + 0.25 * seen
