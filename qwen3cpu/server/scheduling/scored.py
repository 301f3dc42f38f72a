"""An answer that also reports how likely the tokens of its prompt were: `echo` with `logprobs` of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.results import Chunk, TokenLogprob


class ScoredAnswer(Answer):
    """An Answer whose prompt is scored on the way.

    Args:
        sample: False: it ends with the prompt, without a token of its own.
        rest: as for Answer; the request has to ask for logprobs.
    """

    def __init__(self, *args: Any, sample: bool = True, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._sample = sample
        self.prompt_scores: list[TokenLogprob] = []
        """One for each prompt token but the first, which nothing comes before."""

    def start(self) -> None:
        """A prompt is processed from its first token, whatever is known of it: its logits are not."""
        if not self.in_prompt:
            super().start()

    def follows(self, other: Answer) -> bool:
        """Nobody processes its prompt for it."""
        return not self.in_prompt and super().follows(other)

    def wanted(self, count: int) -> Sequence[int]:
        """Logits after every token of the prompt."""
        return range(count) if self._scoring else super().wanted(count)

    def fed(self, count: int, logits: NDArray[np.float32]) -> None:
        """Score what follows each of the tokens."""
        if self._scoring:
            first = len(self._prompt) - len(self.pending) + 1
            top = self._request.logprobs or 0
            for row, token in zip(logits, self._prompt[first : first + count], strict=False):
                self.prompt_scores.append(self._logprob(token, row, top))
        super().fed(count, logits)

    def preempt(self) -> None:
        """A prompt that was not done is scored anew."""
        super().preempt()
        if self.in_prompt:
            self.prompt_scores.clear()

    @property
    def _scoring(self) -> bool:
        return self.in_prompt and self._request.logprobs is not None

    def receive(self, logits: NDArray[np.float32]) -> Chunk:
        """The next token, or the end when none is asked for."""
        if self._sample:
            return super().receive(logits)
        self.in_prompt = False
        self._prompt_done = self._first_token = self._model.clock()
        self.result = self._make_result("max_new_tokens", None)
        return Chunk(index=self.index, finish_reason="length", result=self.result)
