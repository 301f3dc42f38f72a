"""Ends an answer: end tokens, stop tokens, limits, and endless repetition."""

from __future__ import annotations

from qwen3cpu.generation import loops
from qwen3cpu.generation.deadline import Deadline
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import FinishReason, StoppedBy

LIMITS = ("max_new_tokens", "context", "deadline", "loop", "schema", "error")
"""Reasons for which an answer is cut off."""


class Ending:
    """The conditions under which one answer ends, except for stop strings (transcript.py).

    Args:
        request: names stop tokens and limits.
        eos_token_ids: the model's end tokens.
        positions: positions of the context after the prompt.
        deadline: of the answer; None: no limit.
    """

    def __init__(
        self, request: Request, *, eos_token_ids: frozenset[int], positions: int, deadline: Deadline | None
    ) -> None:
        self._stop_token_ids = request.stop_token_ids
        self._eos_token_ids: frozenset[int] = frozenset() if request.ignore_eos else eos_token_ids
        self._max_new_tokens = request.max_new_tokens
        self._most = positions if self._max_new_tokens is None else min(positions, self._max_new_tokens)
        self._deadline = deadline
        # An answer that ignores end tokens or follows a grammar is not ended by a loop.
        watched = request.answer_loops and not request.ignore_eos and request.grammar is None
        self._loops = loops.LoopDetector(loops.IN_ANSWER) if watched else None
        self._in_loop = False

    def note(self, token: int) -> None:
        """Record a token of the answer that is not part of the thinking."""
        if self._loops is not None:
            self._in_loop = self._loops.push(token)

    def by_token(self, token: int) -> StoppedBy | None:
        """The reason why a token ends the answer; None: it does not."""
        if token in self._stop_token_ids:
            return "stop_token"
        return "eos" if token in self._eos_token_ids else None

    def by_limit(self, said: int) -> StoppedBy | None:
        """The limit that ends an answer of `said` tokens; None: none does."""
        if self.overdue:
            return "deadline"
        if said < self._most:
            return "loop" if self._in_loop else None
        limit = self._max_new_tokens
        return "context" if limit is None or said < limit else "max_new_tokens"

    def room(self, said: int) -> int:
        """Tokens that may follow the first `said`."""
        return self._most - said

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and self._deadline.passed


def finish_reason(stopped_by: StoppedBy) -> FinishReason:
    """OpenAI's name for the reason."""
    return "length" if stopped_by in LIMITS else "stop"
