"""An answer that also reports how likely the tokens of its prompt were: `echo` with `logprobs` of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import Chunk, TokenLogprob
from qwen3cpu.generation.surroundings import Surroundings


class ScoredAnswer(Answer):
    """An Answer whose prompt is scored on the way.

    Args:
        model: as for Answer.
        prompt: as for Answer.
        request: the options; the prompt is scored if they ask for logprobs.
        sample: False: it ends with the prompt, without a token of its own.
        rest: as for Answer.
    """

    def __init__(
        self, model: Surroundings, prompt: Sequence[int], request: Request, *, sample: bool = True, **rest: Any
    ) -> None:
        super().__init__(model, prompt, request, **rest)
        self._sample = sample
        self._scores_prompt = request.logprobs is not None
        self.prompt_scores: list[TokenLogprob] = []
        """One for each prompt token but the first, which nothing comes before."""

    def start(self) -> None:
        """As for Answer; but a prompt is processed from its first token, because caches do not hold logits."""
        if not self.in_prompt:
            super().start()

    def follows(self, other: Answer) -> bool:
        """As for Answer; but a prompt waits for no other, since its own logits are needed."""
        return not self.in_prompt and super().follows(other)

    def wanted(self, count: int) -> Sequence[int]:
        """Logits after every token of the prompt."""
        return range(count) if self._scoring else super().wanted(count)

    def fed(self, count: int, logits: NDArray[np.float32]) -> None:
        """Score what follows each of the tokens."""
        if self._scoring:
            first = len(self.prompt) - len(self.pending) + 1
            for row, token in zip(logits, self.prompt[first : first + count], strict=False):
                self.prompt_scores.append(self.scorer.score(token, row))
        super().fed(count, logits)

    def preempt(self) -> None:
        """As for Answer; a prompt that was not done is scored again."""
        super().preempt()
        if self.in_prompt:
            self.prompt_scores.clear()

    @property
    def _scoring(self) -> bool:
        return self.in_prompt and self._scores_prompt

    def receive(self, rows: NDArray[np.float32]) -> Chunk:
        """The next token, or the end when none is asked for. Of the rows after a prompt the last one counts."""
        if not self._sample:
            return self.end_with_prompt("max_new_tokens")
        return super().receive(rows[-1:] if self.in_prompt else rows)
