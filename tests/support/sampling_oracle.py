"""A second sampler in plain NumPy: it sorts everything, keeps everything, and shares no code with qwen3cpu.

Weights come from NumPy's exp and random words from NumPy's Philox. Rules: the head of qwen3cpu/engine/sampling.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)


def breaks(tokens: Sequence[int], place: int, breakers: Sequence[str], texts: Any) -> bool:
    """Whether a breaker ends inside the token at a place, or the token is a control token."""
    control = set(texts.control_tokens.values())
    if tokens[place] in control:
        return True
    start = max((i + 1 for i in range(place) if tokens[i] in control), default=0)
    parts = [texts.token_bytes(token) if token < texts.size else b"" for token in tokens[start : place + 1]]
    text = b"".join(parts)
    ends = range(len(text) - len(parts[-1]) + 1, len(text) + 1)
    return any(text[:end].endswith(breaker.encode()) for end in ends for breaker in breakers)


def repeats(params: Any, tokens: Sequence[int], texts: Any) -> dict[int, float]:
    """DRY's penalty for the logit of each possible next token, found by trying every place of every token."""
    if params.dry_multiplier == 0 or params.dry_penalty_last_n == 0:
        return {}
    n = len(tokens) if params.dry_penalty_last_n < 0 else min(len(tokens), params.dry_penalty_last_n)
    first, end = len(tokens) - n, len(tokens)
    longest: dict[int, int] = {}
    for place in range(first, end):
        length = 0
        while (
            place - length > first
            and tokens[place - 1 - length] == tokens[end - 1 - length]
            and not breaks(tokens, end - 1 - length, params.dry_sequence_breakers, texts)
        ):
            length += 1
        longest[tokens[place]] = max(longest.get(tokens[place], 0), length)
    taken = {}
    for token, length in longest.items():
        if length >= params.dry_allowed_length and not breaks(
            [*tokens, token], end, params.dry_sequence_breakers, texts
        ):
            try:
                taken[token] = params.dry_multiplier * params.dry_base ** (length - params.dry_allowed_length)
            except OverflowError:
                taken[token] = 1e39
    return {token: min(amount, 1e39) for token, amount in taken.items()}


def adjusted_logits(
    logits: np.ndarray, params: Any, prompt: Sequence[int], answer: Sequence[int], texts: Any = None
) -> np.ndarray:
    """float32 logits after penalties and bias."""
    x = logits.astype(np.float64)
    banned = np.isneginf(x)
    with np.errstate(over="ignore", invalid="ignore"):
        seen = np.array(sorted({*prompt, *answer}), dtype=np.int64)
        x[seen] = np.where(x[seen] < 0, x[seen] * params.repetition_penalty, x[seen] / params.repetition_penalty)
        for token, count in Counter(answer).items():
            x[token] = x[token] - params.presence_penalty - params.frequency_penalty * count
        for token, amount in repeats(params, [*prompt, *answer], texts).items():
            x[token] -= amount
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


def weights_at(x: np.ndarray, temperature: float) -> np.ndarray:
    """Integer weights of logits x, best first."""
    with np.errstate(over="ignore"):
        return np.rint(2.0**44 * np.exp((x - x[0]) / temperature)).astype(np.int64)


def typical(x: np.ndarray, ids: np.ndarray, share: float) -> np.ndarray:
    """Places of the typical logits among x, best first: those with the least |entropy - surprise|, up to the share."""
    weights = weights_at(x, 1.0)
    p = weights / np.longdouble(weights.sum())
    with np.errstate(divide="ignore"):
        surprise = -np.log2(p)
    entropy = (p[p > 0] * surprise[p > 0]).sum()
    order = np.lexsort((ids, np.rint(np.abs(entropy - surprise) * 2**20).astype(np.float32)))
    before = np.cumsum(weights[order]) - weights[order]
    needed = min(max(math.ceil(share * float(weights.sum())), 1), int(weights.sum()))
    return np.sort(order[before < needed])


def candidates(
    logits: np.ndarray,
    params: Any,
    prompt: Sequence[int],
    answer: Sequence[int],
    token_limit: int,
    *,
    stream: int = 0,
    texts: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(ids ascending, integer weights) of the tokens that may be drawn; empty when every token is banned."""
    x = adjusted_logits(logits, params, prompt, answer, texts)[:token_limit].astype(np.float64)
    ids = np.lexsort((np.arange(token_limit), -x))  # best first, equal logits by id
    ids = ids[x[ids] > -np.inf]
    if len(ids) == 0:
        return ids, np.zeros(0, np.int64)
    if params.temperature == 0:
        return ids[:1], np.array([2**44])
    if params.top_n_sigma > 0:
        with np.errstate(over="ignore"):
            ids = ids[x[ids] >= x[ids[0]] - params.top_n_sigma * np.std(x[ids])]
    if params.top_k > 0:
        ids = ids[: params.top_k]
    if params.typical_p < 1 or params.xtc_probability > 0:
        ids = ids[(weights_at(x[ids], params.temperature) > 0) | (weights_at(x[ids], 1.0) > 0)]
    if params.typical_p < 1:
        ids = ids[typical(x[ids], ids, params.typical_p)]
    weights = weights_at(x[ids], params.temperature)
    keep = np.ones(len(ids), bool)
    if params.top_p < 1:
        before = np.cumsum(weights) - weights
        keep &= before < math.ceil(params.top_p * float(weights.sum()))
        keep[0] = True
    ids = ids[keep & (weights >= params.min_p * 2.0**44)]
    if params.xtc_probability > 0 and coin(params.seed, stream, len(answer)) < params.xtc_probability:
        untempered = weights_at(x[ids], 1.0)
        likely = np.flatnonzero(untempered >= math.ceil(params.xtc_threshold * float(untempered.sum())))
        ids = np.delete(ids, likely[:-1])
    weights = weights_at(x[ids], params.temperature)
    ids, weights = ids[weights > 0], weights[weights > 0]
    ascending = np.argsort(ids)
    return ids[ascending], weights[ascending]


def random_word(seed: int, stream: int, index: int) -> int:
    key = np.array([seed, stream], dtype=np.uint64)
    return int(np.random.Philox(key=key, counter=index).random_raw())


def coin(seed: int, stream: int, index: int) -> float:
    """The number in [0, 1) that XTC compares with its probability."""
    key = np.array([seed, stream], dtype=np.uint64)
    return (int(np.random.Philox(key=key, counter=index).random_raw(2)[1]) >> 11) * 2.0**-53


def choose(
    logits: np.ndarray,
    params: Any,
    *,
    prompt: Sequence[int],
    answer: Sequence[int],
    token_limit: int,
    seed: int,
    stream: int = 0,
    texts: Any = None,
) -> int:
    """The token after `answer`."""
    ids, weights = candidates(logits, params, prompt, answer, token_limit, stream=stream, texts=texts)
    place = random_word(seed, stream, len(answer)) * int(weights.sum()) >> 64
    return int(ids[np.searchsorted(np.cumsum(weights), place, side="right")])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    peak = x.max()
    return x - (peak + math.log(math.fsum(np.exp(x - peak))))
