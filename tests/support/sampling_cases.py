"""Random rows of logits and settings for the sampler, and an answer compared with the oracle, token for token."""

from __future__ import annotations

import numpy as np
import pytest
import sampling_oracle as oracle

from qwen3cpu.engine.sampling import Sampler, SamplingParams
from qwen3cpu.errors import ArgumentError


def random_logits(rng: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """One row. Every kind has properties that are rare in real rows: ties, banned tokens, extremes."""
    if kind == "smooth":
        x = rng.normal(0, rng.choice([0.01, 1, 5, 40]), n)
    elif kind == "ties":
        x = rng.integers(-4, 5, n) * rng.choice([0.25, 3.0])
    elif kind == "equal":
        x = np.full(n, rng.choice([0.0, -7.5, 1e30]))
    elif kind == "peaked":
        x = rng.normal(0, 2, n)
        x[rng.integers(0, n, 5)] += 20
    elif kind == "banned":
        x = np.where(rng.random(n) < 0.9, -np.inf, rng.normal(0, 3, n))
        x[rng.integers(0, n)] = 1.0
    elif kind == "extreme":
        x = rng.choice([3.4e38, -3.4e38, 1e-45, -1e-45, 0.0, -0.0, 1.0, 88.0, -1e4, -np.inf], n)
        x[rng.integers(0, n)] = 0.0
    else:
        raise AssertionError(kind)
    return x.astype(np.float32)


KINDS = ["smooth", "ties", "equal", "peaked", "banned", "extreme"]


def random_params(rng: np.random.Generator, n: int) -> SamplingParams:
    """Random settings. Each is off in half of the cases, so that it is tested alone and with the others."""

    def maybe(off: object, values: list) -> object:
        return off if rng.random() < 0.5 else values[rng.integers(len(values))]

    bias: dict[int, float] = {}
    if rng.random() < 0.4:
        for token in rng.integers(0, n, 4):
            bias[int(token)] = float(rng.choice([-100.0, -1.5, 0.0, 2.0, 30.0, -np.inf]))
    if rng.random() < 0.1:
        for token in rng.integers(0, n, 3):
            bias[int(token)] = np.inf
    return SamplingParams(
        **(random_samplers(rng) if rng.random() < 0.5 else {}),
        temperature=maybe(1.0, [0.0, 1e-308, 1e-5, 0.3, 0.6, 0.7, 1.7, 50.0, 1e300]),
        top_k=maybe(0, [1, 2, 5, 20, 64, 500, 10**9]),
        top_p=maybe(1.0, [0.0, 1e-9, 0.3, 0.5, 0.8, 0.95, 0.999999, 1 - 2**-53]),
        min_p=maybe(0.0, [1e-12, 0.01, 0.05, 0.3, 1.0]),
        presence_penalty=maybe(0.0, [-2.0, 0.5, 1.5, 2.0]),
        frequency_penalty=maybe(0.0, [-1.0, 0.1, 2.0]),
        repetition_penalty=maybe(1.0, [0.5, 1.05, 1.3, 1e300]),
        logit_bias=bias,
        seed=int(rng.integers(0, 2**64, dtype=np.uint64)),
    )


def random_samplers(rng: np.random.Generator) -> dict:
    """The settings with llama.cpp's names, each off in half of the cases."""
    off = {"top_n_sigma": 0.0, "typical_p": 1.0, "xtc_probability": 0.0, "dry_multiplier": 0.0}
    on = {
        "top_n_sigma": [0.1, 1.0, 2.5, 1e308],
        "typical_p": [0.0, 1e-9, 0.2, 0.5, 0.9, 1 - 2**-53],
        "xtc_probability": [0.3, 0.7, 1.0],
        "dry_multiplier": [0.3, 2.0, 1e300],
    }
    chosen = {
        name: values[rng.integers(len(values))] if rng.random() < 0.5 else off[name] for name, values in on.items()
    }
    return {
        **chosen,
        "xtc_threshold": rng.choice([0.0, 1e-12, 0.02, 0.1, 0.3, 0.5, 1.0]),
        "dry_base": rng.choice([1.0, 1.75, 4.0, 1e300]),
        "dry_allowed_length": int(rng.integers(0, 4)),
        "dry_penalty_last_n": int(rng.choice([-1, -1, 0, 1, 5, 20, 10**12])),
        "dry_sequence_breakers": [(), ("\n", ":", '"', "*"), ("b:", "abc", "é")][rng.integers(3)],
    }


class Texts:
    """A tokenizer of any size: its tokens are short texts of few characters, two are control tokens."""

    SPELLINGS = ("a", "b", "c", "b:", ":", "\n", "ab", "bc", "\xc3", "\xa9x", "a*a", "")

    def __init__(self, size: int) -> None:
        self.size = size
        self.control_tokens = {"<s>": 12, "<t>": 25}

    def token_bytes(self, id_: int) -> bytes:
        assert 0 <= id_ < self.size
        return self.SPELLINGS[id_ % len(self.SPELLINGS)].encode("latin-1")


def check_answer(rng: np.random.Generator, rows: list[np.ndarray], params: SamplingParams, token_limit: int) -> int:
    """Sample one token per row, forcing some, and compare each with the oracle. Returns the length of the answer."""
    n = len(rows[0])
    texts = Texts(token_limit)
    prompt = rng.integers(0, n, int(rng.integers(0, 12))).tolist()
    # Often with repetitions.
    prompt = prompt[-4:] * int(rng.integers(1, 5)) if rng.random() < 0.5 else prompt
    stream = int(rng.integers(0, 5))
    sampler = Sampler(params, vocab_size=n, token_limit=token_limit, prompt=prompt, stream=stream, texts=texts)
    answer: list[int] = []
    for row in rows:
        if rng.random() < 0.2:
            answer.append(int(rng.integers(0, n)))
            sampler.accept(answer[-1])
        ids, weights = oracle.candidates(row, params, prompt, answer, token_limit, stream=stream, texts=texts)
        if len(ids) == 0:
            with pytest.raises(ArgumentError, match="no token can be drawn"):
                sampler.sample(row)
            continue
        found_ids, probabilities = sampler.distribution(row)
        assert found_ids.tolist() == ids.tolist(), params
        np.testing.assert_allclose(probabilities * weights.sum(), weights, rtol=1e-12, atol=1.001)
        expected = oracle.choose(
            row,
            params,
            prompt=prompt,
            answer=answer,
            token_limit=token_limit,
            seed=params.seed,
            stream=stream,
            texts=texts,
        )
        assert sampler.sample(row) == expected, params
        answer.append(expected)
    return len(answer)
