"""The sampler once more, as plainly as NumPy allows: sort everything, keep everything, nothing shared with qwen3cpu.

Weights come from NumPy's exp and random words from NumPy's Philox. Rules: the head of qwen3cpu/engine/sampling.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)


def adjusted_logits(logits: np.ndarray, params: Any, prompt: Sequence[int], answer: Sequence[int]) -> np.ndarray:
    """float32 logits after penalties and bias."""
    x = logits.astype(np.float64)
    banned = np.isneginf(x)
    with np.errstate(over="ignore", invalid="ignore"):
        seen = np.array(sorted({*prompt, *answer}), dtype=np.int64)
        x[seen] = np.where(x[seen] < 0, x[seen] * params.repetition_penalty, x[seen] / params.repetition_penalty)
        for token, count in Counter(answer).items():
            x[token] = x[token] - params.presence_penalty - params.frequency_penalty * count
        for token, bias in params.logit_bias.items():
            if math.isfinite(bias):
                x[token] += bias
    x = np.clip(x, -LARGEST, LARGEST)
    x[banned] = -np.inf
    for token, bias in params.logit_bias.items():
        if bias == -np.inf:
            x[token] = -np.inf
    forced = [token for token, bias in params.logit_bias.items() if bias == np.inf]
    if forced:
        others = np.setdiff1d(np.arange(len(x)), forced)
        x[others] = -np.inf
    return x.astype(np.float32)


def candidates(
    logits: np.ndarray, params: Any, prompt: Sequence[int], answer: Sequence[int], token_limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """(ids ascending, integer weights) of the tokens that may be drawn; empty when every token is banned."""
    x = adjusted_logits(logits, params, prompt, answer)[:token_limit].astype(np.float64)
    ids = np.lexsort((np.arange(token_limit), -x))  # best first, equal logits by id
    ids = ids[x[ids] > -np.inf]
    if len(ids) == 0:
        return ids, np.zeros(0, np.int64)
    if params.temperature == 0:
        return ids[:1], np.array([2**44])
    with np.errstate(over="ignore"):
        weights = np.rint(2.0**44 * np.exp((x[ids] - x[ids[0]]) / params.temperature)).astype(np.int64)
    if params.top_k > 0:
        ids, weights = ids[: params.top_k], weights[: params.top_k]
    keep = np.ones(len(ids), bool)
    if params.top_p < 1:
        before = np.cumsum(weights) - weights
        keep &= before < math.ceil(params.top_p * float(weights.sum()))
        keep[0] = True
    keep &= (weights >= params.min_p * 2.0**44) & (weights > 0)
    ids, weights = ids[keep], weights[keep]
    ascending = np.argsort(ids)
    return ids[ascending], weights[ascending]


def random_word(seed: int, stream: int, index: int) -> int:
    key = np.array([seed, stream], dtype=np.uint64)
    return int(np.random.Philox(key=key, counter=index).random_raw())


def choose(
    logits: np.ndarray,
    params: Any,
    *,
    prompt: Sequence[int],
    answer: Sequence[int],
    token_limit: int,
    seed: int,
    stream: int = 0,
) -> int:
    """The token after `answer`."""
    ids, weights = candidates(logits, params, prompt, answer, token_limit)
    place = random_word(seed, stream, len(answer)) * int(weights.sum()) >> 64
    return int(ids[np.searchsorted(np.cumsum(weights), place, side="right")])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    peak = x.max()
    return x - (peak + math.log(math.fsum(np.exp(x - peak))))
