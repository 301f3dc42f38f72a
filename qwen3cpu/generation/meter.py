"""The times and token counts of one answer."""

from __future__ import annotations

from collections.abc import Callable

from qwen3cpu.generation.results import Timings, Usage
from qwen3cpu.generation.speculation import Speculation


class Meter:
    """Measures one answer, from the moment when it is made.

    Args:
        clock: returns seconds since any fixed moment.
        prompt_tokens: length of the prompt.
        drafts: of the answer; None: it has none.
    """

    def __init__(self, clock: Callable[[], float], prompt_tokens: int, drafts: Speculation | None = None) -> None:
        self._clock = clock
        self._drafts = drafts
        self._prompt_tokens = prompt_tokens
        self._processed = 0
        self._shared = False
        self._started = self._prompt_done = self._first_token = clock()

    def processed(self, start: int, end: int) -> None:
        """Record that the model has processed the positions [start, end) for this answer."""
        self._processed += max(0, min(end, self._prompt_tokens) - start)

    def share_prompt(self) -> None:
        """Record that another answer processes the prompt."""
        self._shared = True

    def prompt_done(self) -> None:
        """Record that the logits after the prompt have been computed."""
        self._prompt_done = self._clock()

    def first_token(self) -> None:
        """Record that the first token has been chosen."""
        self._first_token = self._clock()

    def end_with_prompt(self) -> None:
        """Record that the answer ends without a token."""
        self._prompt_done = self._first_token = self._clock()

    def timings(self, tokens: int) -> Timings:
        """The times of an answer that has `tokens` tokens and ends at this moment."""
        now = self._clock()
        prompt = 0.0 if self._shared else self._prompt_done - self._started
        decode = now - self._first_token
        return Timings(
            prompt_seconds=prompt,
            first_token_seconds=self._first_token - self._started,
            decode_seconds=decode,
            total_seconds=now - self._started,
            prompt_tokens_per_second=self._processed / prompt if prompt > 0 else 0.0,
            tokens_per_second=max(tokens - 1, 0) / decode if decode > 0 else 0.0,
            drafted=0 if self._drafts is None else self._drafts.drafted,
            accepted=0 if self._drafts is None else self._drafts.accepted,
        )

    def usage(self, tokens: int, reasoning_tokens: int) -> Usage:
        """The counts of an answer that has `tokens` tokens, some of them in think blocks."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=tokens,
            reasoning_tokens=reasoning_tokens,
            cached_tokens=max(0, self._prompt_tokens - self._processed),
        )
