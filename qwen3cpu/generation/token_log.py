"""The tokens of one answer, with their log-probabilities if they are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.generation.logprobs import Scorer
from qwen3cpu.generation.results import TokenLogprob


class TokenLog:
    """Every token after the prompt.

    Args:
        scorer: computes log-probabilities; None: they are not asked for.
    """

    def __init__(self, scorer: Scorer | None) -> None:
        self._scorer = scorer
        self.ids: list[int] = []
        """The ids of all tokens."""
        self._logprobs: list[TokenLogprob] = []
        self._told = 0  # number of tokens that `news` has reported

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.ids)

    def add(self, token: int, logits: NDArray[np.float32] | None) -> None:
        """Add a token, chosen from logits [vocab_size]; None: the model did not choose it."""
        self.ids.append(token)
        if self._scorer is not None:
            entry = self._scorer.fed_in(token) if logits is None else self._scorer.score(token, logits)
            self._logprobs.append(entry)

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...] | None:
        """One entry for each token; None when they are not asked for."""
        return None if self._scorer is None else tuple(self._logprobs)

    def news(self) -> tuple[tuple[int, ...], tuple[TokenLogprob, ...] | None]:
        """Ids and log-probabilities of the tokens since the last call."""
        first, self._told = self._told, len(self.ids)
        return tuple(self.ids[first:]), None if self._scorer is None else tuple(self._logprobs[first:])
