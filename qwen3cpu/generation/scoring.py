"""Logits and scores of a text: the logits after every token, and how likely each token is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.engine.engine import CHUNK, Engine
from qwen3cpu.engine.memory_shortage import MemoryShortError
from qwen3cpu.engine.sampling import Sampler, SamplingParams
from qwen3cpu.generation.logprobs import Scorer
from qwen3cpu.generation.results import TokenLogprob
from qwen3cpu.text.tokenizer import Tokenizer


def all_logits(engine: Engine, tokens: Sequence[int], adapter: Adapter | None = None) -> NDArray[np.float32]:
    """The logits after every one of `tokens`, which is not empty: float32 [len(tokens), vocab_size].

    Raises:
        EngineError: memory is short.
    """
    pieces = engine.every_logit(tokens, adapter=adapter)
    if len(tokens) <= CHUNK:
        return next(pieces)[1]
    try:
        out = np.empty((len(tokens), engine.vocab_size), dtype=np.float32)
    except MemoryError as reason:
        raise MemoryShortError("the logits", reason) from reason
    for start, logits in pieces:
        out[start : start + len(logits)] = logits
    return out


def score_tokens(
    engine: Engine, tokenizer: Tokenizer, tokens: Sequence[int], top: int, adapter: Adapter | None = None
) -> list[TokenLogprob]:
    """Natural log-probabilities of every token except the first, which has no token before it.

    Args:
        engine: runs the forward passes.
        tokenizer: gives the texts of the tokens.
        tokens: at least two ids.
        top: alternatives to report at each position.
        adapter: changes the model.
    """
    sampler = Sampler(
        SamplingParams(),
        vocab_size=engine.vocab_size,
        token_limit=min(tokenizer.size, engine.vocab_size),
        prompt=[],
    )
    scorer = Scorer(sampler, tokenizer, top)
    scores = []
    for start, logits in engine.every_logit(tokens[:-1], adapter=adapter):
        for row, token in zip(logits, tokens[start + 1 :], strict=False):
            scores.append(scorer.score(token, row))
    return scores
