"""Decides how many tokens of prompts and texts go into a step, by the measured times of earlier steps."""

from __future__ import annotations

from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.retrieval.window import LEAST_PIECE

GOAL_SECONDS = 0.35
"""The target duration of a step with running answers, well below a second, so that a slow step is not a stall."""
FIRST_SHARE = 16
"""Prompt tokens in the first such step, before anything has been measured."""
LEAST_SHARE = 8
"""Prompt tokens in a step at least, however slow the machine."""


class Pace:
    """Predicts the time of a step as that of its running answers plus a time for each prompt token.

    The time for a token grows with the context and with the load of the machine, so it is measured in every step. A
    slower step counts at once, faster ones gradually.

    Args:
        goal: the target duration of a step in seconds.
    """

    def __init__(self, goal: float = GOAL_SECONDS) -> None:
        self._goal = goal
        self._decode = 0.0
        self._per_token: float | None = None

    def chunk(self, running: int, shared: bool = False) -> int:
        """The largest number of tokens for the next step.

        Args:
            running: its tokens that belong to running answers.
            shared: whether other models wait for its end. If not, and without a running answer, it is a full chunk.
        """
        if not running and not shared:
            return CHUNK
        if self._per_token is None:
            return running + FIRST_SHARE
        share = (self._goal - self._decode) / self._per_token
        return running + int(min(max(share, LEAST_SHARE), CHUNK))

    def note(self, running: int, prompt_tokens: int, seconds: float) -> None:
        """Note the seconds that a step took with this many tokens of running answers and of prompts."""
        if not prompt_tokens:
            self._decode = _follow(self._decode, seconds)
            return
        each = max(seconds - (self._decode if running else 0.0), seconds / 10) / prompt_tokens
        self._per_token = each if self._per_token is None else _follow(self._per_token, each)


class TextPace:
    """Decides how many tokens of texts go into a pass, few enough that a new request gets its turn soon.

    Passes of this size are large enough to keep the processor busy; larger ones gain nothing.

    Args:
        goal: the target duration of a pass in seconds.
    """

    def __init__(self, goal: float = GOAL_SECONDS) -> None:
        self._goal = goal
        self._per_token: float | None = None

    @property
    def tokens(self) -> int:
        """The largest number of tokens for the next pass."""
        if self._per_token is None:
            return LEAST_PIECE
        return int(min(max(self._goal / self._per_token, LEAST_PIECE), CHUNK))

    def note(self, tokens: int, seconds: float) -> None:
        """Note the seconds of a pass. A small pass is ignored, because reading the weights dominates its time."""
        if tokens >= LEAST_PIECE // 2:
            each = seconds / tokens
            self._per_token = each if self._per_token is None else _follow(self._per_token, each)


def _follow(known: float, seen: float) -> float:
    return seen if seen > known else 0.75 * known + 0.25 * seen
