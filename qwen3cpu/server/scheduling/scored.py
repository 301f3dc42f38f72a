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
    """An Answer that scores the tokens of its prompt.

    Args:
        model: as for Answer.
        prompt: as for Answer.
        request: the options; the prompt is scored if they ask for logprobs.
        sample: False: it ends with the prompt, without a generated token.
        rest: as for Answer.
    """

    def __init__(
        self, model: Surroundings, prompt: Sequence[int], request: Request, *, sample: bool = True, **rest: Any
    ) -> None:
        super().__init__(model, prompt, request, **rest)
        self._sample = sample
        self._scores_prompt = request.logprobs is not None
        self.prompt_scores: list[TokenLogprob] = []
        """One score for each prompt token but the first, which has no tokens before it."""

    def start(self) -> None:
        """See Answer. A prompt is processed from its first token, because caches do not hold logits."""
        if not self.in_prompt:
            super().start()

    def follows(self, other: Answer) -> bool:
        """See Answer. A prompt follows no other one, because its own logits are needed."""
        return not self.in_prompt and super().follows(other)

    def wanted(self, count: int) -> Sequence[int]:
        """See Answer. In a prompt the logits after every token are needed."""
        return range(count) if self._scoring else super().wanted(count)

    def fed(self, count: int, logits: NDArray[np.float32]) -> None:
        """Score the prompt token that follows each of the tokens."""
        if self._scoring:
            first = len(self.prompt) - len(self.pending) + 1
            for row, token in zip(logits, self.prompt[first : first + count], strict=False):
                self.prompt_scores.append(self.scorer.score(token, row))
        super().fed(count, logits)

    def preempt(self) -> None:
        """See Answer. An incomplete prompt is scored again."""
        super().preempt()
        if self.in_prompt:
            self.prompt_scores.clear()

    @property
    def _scoring(self) -> bool:
        return self.in_prompt and self._scores_prompt

    def receive(self, rows: NDArray[np.float32]) -> Chunk:
        """The next token, or the end without `sample`. After a prompt, only the last row of logits is used."""
        if not self._sample:
            return self.end_with_prompt("max_new_tokens")
        return super().receive(rows[-1:] if self.in_prompt else rows)
