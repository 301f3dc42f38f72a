"""Log-probabilities of tokens, as results report them: with texts and alternatives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.sampling import Sampler
from qwen3cpu.generation.results import TokenLogprob, TopLogprob
from qwen3cpu.text.tokenizer import Tokenizer


class Scorer:
    """Computes how likely the model finds tokens.

    Args:
        sampler: computes the log-probabilities; its state does not change.
        tokenizer: has the texts of tokens.
        top: alternatives to report at each position.
    """

    def __init__(self, sampler: Sampler, tokenizer: Tokenizer, top: int) -> None:
        self._sampler = sampler
        self._tokenizer = tokenizer
        self._top = top

    def score(self, token: int, logits: NDArray[np.float32]) -> TokenLogprob:
        """The log-probability of a token, given the logits [vocab_size] at its position."""
        value, best = self._sampler.logprobs(logits, token, self._top)
        alternatives = tuple(TopLogprob(other, token_text(self._tokenizer, other), each) for other, each in best)
        return TokenLogprob(token, token_text(self._tokenizer, token), value, alternatives)

    def fed_in(self, token: int) -> TokenLogprob:
        """The entry of a token that the model did not choose."""
        return TokenLogprob(token, token_text(self._tokenizer, token), None)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """The bytes of one token as text; "" for an id that the tokenizer does not have."""
    return tokenizer.token_bytes(token).decode("utf-8", "replace") if token < tokenizer.size else ""
