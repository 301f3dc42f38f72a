"""What ends an answer: end tokens, stop tokens, limits, and repetition without end."""

from __future__ import annotations

from qwen3cpu.generation import loops
from qwen3cpu.generation.deadline import Deadline
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import FinishReason, StoppedBy

LIMITS = ("max_new_tokens", "context", "deadline", "loop", "schema", "error")
"""What cuts an answer off."""


class Ending:
    """The conditions under which one answer ends, but for stop strings (transcript.py).

    Args:
        request: names stop tokens and limits.
        eos_token_ids: the model's end tokens.
        positions: of the context that the prompt leaves free.
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
        # What has to go on, or may not end here, is not looked at.
        watched = request.answer_loops and not request.ignore_eos and request.grammar is None
        self._loops = loops.LoopDetector(loops.IN_ANSWER) if watched else None
        self._in_loop = False

    def note(self, token: int) -> None:
        """Note a token of the answer that is not one of the thinking."""
        if self._loops is not None:
            self._in_loop = self._loops.push(token)

    def by_token(self, token: int) -> StoppedBy | None:
        """Whether a token ends the answer, and as what."""
        if token in self._stop_token_ids:
            return "stop_token"
        return "eos" if token in self._eos_token_ids else None

    def by_limit(self, said: int) -> StoppedBy | None:
        """Whether a limit ends an answer of `said` tokens, and which."""
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
    """How OpenAI's clients call it."""
    return "length" if stopped_by in LIMITS else "stop"
