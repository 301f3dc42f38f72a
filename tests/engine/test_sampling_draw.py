"""Randomness and log probabilities: the generator, streams, the drawn distribution, threads, log softmax."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import sampling_oracle as oracle

from qwen3cpu._sampling import random_word
from qwen3cpu.engine.sampling import NON_THINKING, THINKING, Sampler, SamplingParams
from qwen3cpu.errors import ArgumentError, EngineError

TOP = 2**64 - 1


def sampler_of(params: SamplingParams, n: int, seed: int = 5, **more: object) -> Sampler:
    return Sampler(params.replace(seed=seed), **{"vocab_size": n, "token_limit": n, "prompt": [], **more})


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32, 2**63, TOP])
@pytest.mark.parametrize("stream", [0, 1, 7, TOP])
def test_random_words_are_numpys_philox(seed: int, stream: int) -> None:
    for index in [0, 1, 2, 3, 4, 5, 1000, 2**32, TOP - 1, TOP]:
        assert random_word(seed, stream, index) == oracle.random_word(seed, stream, index)


def test_known_answers_of_philox() -> None:
    """Recorded values, in case NumPy's generator ever changes together with the sampler's."""
    assert random_word(0, 0, 0) == 0x02F4BA6408E4D89B
    assert random_word(1, 2, 3) == 0xA71BF2A8F650DEEA


def test_a_token_depends_on_seed_stream_and_place_only() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (12, 500)).astype(np.float32)
    params = SamplingParams()
    whole = sampler_of(params, 500)
    answer = [whole.sample(row) for row in rows]
    assert len(set(answer)) > 6
    # The same place reached by forced tokens, and with another sampler in use.
    for start in range(12):
        late, other = sampler_of(params, 500), sampler_of(params, 500, seed=99)
        for token in range(start):
            late.accept(token)
            other.sample(rows[token])
        assert [late.sample(row) for row in rows[start:]] == answer[start:]


def test_streams_and_seeds_differ_and_repeat() -> None:
    row = np.zeros(1000, np.float32)
    answers = {}
    for seed, stream in [(5, 0), (5, 1), (5, 2), (6, 0), (0, 5), (1, 5)]:
        first, again = (sampler_of(SamplingParams(), 1000, seed=seed, stream=stream) for _ in range(2))
        answers[seed, stream] = tuple(first.sample(row) for _ in range(10))
        assert answers[seed, stream] == tuple(again.sample(row) for _ in range(10))
    assert len(set(answers.values())) == len(answers)


def test_a_seed_from_the_system_is_told_and_repeats() -> None:
    row = np.zeros(1000, np.float32)
    first = Sampler(SamplingParams(), vocab_size=1000, token_limit=1000, prompt=[])
    other = Sampler(SamplingParams(), vocab_size=1000, token_limit=1000, prompt=[])
    assert first.seed != other.seed
    again = sampler_of(SamplingParams(), 1000, seed=first.seed)
    assert [first.sample(row) for _ in range(8)] == [again.sample(row) for _ in range(8)]


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """Standardised by Wilson and Hilferty's cube root: about normal(0, 1) when the counts follow the probabilities."""
    expected = counts.sum() * probabilities
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(counts) - 1
    spread = 2 / (9 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=2.0),
        SamplingParams(temperature=0.5, top_k=8),
        SamplingParams(top_p=0.8),
        SamplingParams(min_p=0.1),
        SamplingParams(temperature=1.3, top_k=20, top_p=0.9, min_p=0.02),
    ],
    ids=str,
)
def test_draws_follow_the_distribution(params: SamplingParams) -> None:
    n = 30
    row = np.random.default_rng(4).normal(0, 1, n).astype(np.float32)
    # Expected probabilities from the definition, in double and without the oracle's integers.
    order = np.argsort(-row)
    p = np.exp((row[order].astype(float) - row.max()) / params.temperature)
    p = p[: params.top_k or n]
    p /= p.sum()
    keep = (np.cumsum(p) - p < params.top_p) & (p >= params.min_p * p[0])
    order, p = order[: len(p)][keep], p[keep] / p[keep].sum()

    sampler = sampler_of(params, n)
    counts = np.bincount([sampler.sample(row) for _ in range(40_000)], minlength=n)
    assert counts[order].sum() == 40_000
    assert abs(chi_square(counts[order], p)) < 4  # 6e-5 of all seeds would fail
    # The test can fail: it detects a token that is expected 20 % too rarely.
    wrong = p.copy()
    wrong[0] *= 0.8
    assert chi_square(counts[order], wrong / wrong.sum()) > 4


def test_unlikely_tokens_are_drawn_as_often_as_they_should() -> None:
    """A token with probability 1 / e^5 and a likely one: about 134 of 20,000 draws, within 5 standard deviations."""
    sampler = sampler_of(SamplingParams(), 2)
    row = np.array([0, -5], np.float32)
    count = sum(sampler.sample(row) for _ in range(20_000))
    p = 1 / (1 + np.exp(5))
    assert abs(count - 20_000 * p) < 5 * (20_000 * p * (1 - p)) ** 0.5


def test_samplers_work_in_threads() -> None:
    rows = np.random.default_rng(6).normal(0, 2, (8, 151_936)).astype(np.float32)
    settings = [THINKING, NON_THINKING, SamplingParams(top_p=0.9), SamplingParams(presence_penalty=1.0)]

    def answer(i: int) -> list[int]:
        sampler = sampler_of(settings[i], 151_936, seed=i)
        return [sampler.sample(row) for row in rows]

    expected = [answer(i) for i in range(4)]
    found: dict[int, list[int]] = {}
    threads = [threading.Thread(target=lambda i=i: found.__setitem__(i, answer(i))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(4)] == expected


def test_one_sampler_in_two_threads_is_refused_and_not_harmed() -> None:
    row = np.random.default_rng(6).normal(0, 0.5, 151_936).astype(np.float32)
    sampler = sampler_of(SamplingParams(top_p=0.99), 151_936)
    tokens: list[int] = []
    refused: list[str] = []
    start = threading.Barrier(2)

    def work() -> None:
        start.wait()
        while len(tokens) < 200 and not refused:
            try:
                tokens.append(sampler.sample(row))
            except EngineError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("at work in another thread" in message for message in refused)
    # The calls that were not refused make up the answer of one thread, appended in some order.
    alone = sampler_of(SamplingParams(top_p=0.99), 151_936)
    assert sorted(tokens) == sorted(alone.sample(row) for _ in tokens)


def log_softmax_bound(row: np.ndarray) -> float:
    """Rounding of eight sums of n / 8 terms of 6 units each, of the logarithm and of the difference."""
    unit = 2.0**-53
    return (len(row) / 8 + 8 + 6 + 4) * unit + 4 * unit * float(np.abs(row[np.isfinite(row)]).max() + 16)


@pytest.mark.parametrize("n", [1, 7, 64, 511, 512, 513, 5000, 151_936])
@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_logprobs_are_the_log_softmax(n: int, scale: float) -> None:
    rng = np.random.default_rng([n, int(scale)])
    row = rng.normal(0, scale, n).astype(np.float32)
    if n > 64:
        row[rng.integers(0, n, 20)] = -np.inf
    expected = oracle.log_softmax(row)
    # Settings of every kind: the log probabilities are those of the model, not of the sampler.
    params = THINKING.replace(repetition_penalty=1.5, logit_bias={0: -np.inf})
    sampler = sampler_of(params, n, prompt=list(range(min(n, 50))))
    best = np.lexsort((np.arange(n), -row))
    best = best[row[best] > -np.inf]
    for token in {0, n // 2, n - 1, int(best[0])}:
        for top in (0, 1, 5, 20, n) if token == 0 or n <= 5000 else (0, 1, 5, 20):
            value, alternatives = sampler.logprobs(row, token, top=top)
            if row[token] == -np.inf:
                assert value == -np.inf
            else:
                assert abs(value - expected[token]) <= log_softmax_bound(row)
            assert [i for i, _ in alternatives] == best[:top].tolist()
            found = np.array([v for _, v in alternatives])
            assert np.abs(found - expected[best[:top]]).max(initial=0) <= log_softmax_bound(row)
            assert (token, value) in alternatives or token not in best[:top]


def test_alternatives_are_tokens_and_ties_go_by_id() -> None:
    row = np.array([1, 5, 5, 0, 5, 9, 9], np.float32)  # the last two rows are not tokens, but have probability
    sampler = sampler_of(THINKING, 7, token_limit=5)
    value, alternatives = sampler.logprobs(row, 6, top=4)
    expected = oracle.log_softmax(row)
    assert value == pytest.approx(expected[6], abs=1e-14)
    assert alternatives == [(i, pytest.approx(expected[i], abs=1e-14)) for i in (1, 2, 4, 0)]
    with pytest.raises(EngineError, match="all 7 logits are -inf"):
        sampler.logprobs(np.full(7, -np.inf, np.float32), 0)
    only_spare = np.full(7, -np.inf, np.float32)
    only_spare[6] = 3.0
    assert sampler.logprobs(only_spare, 0, top=3) == (-np.inf, [])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logprobs_refuse_what_is_not_a_logit(value: float) -> None:
    sampler = sampler_of(THINKING, 200, token_limit=100)
    for position in (0, 70, 150, 199):
        row = np.zeros(200, np.float32)
        row[position] = value
        with pytest.raises(EngineError, match=rf"logits\[{position}\]"):
            sampler.logprobs(row, 0)


def test_logprobs_leave_the_answer_alone() -> None:
    rows = np.random.default_rng(1).normal(0, 1, (10, 200)).astype(np.float32)
    plain, asked = (sampler_of(NON_THINKING.replace(presence_penalty=1.0), 200) for _ in range(2))
    for row in rows:
        asked.logprobs(row, 5, top=3)
        assert asked.sample(row) == plain.sample(row)


@pytest.mark.parametrize(("token", "top"), [(-1, 0), (200, 0), (1.0, 0), (True, 0), (0, -1), (0, 2.0), (0, True)])
def test_logprobs_check_their_arguments(token: object, top: object) -> None:
    with pytest.raises(ArgumentError, match="must be an integer"):
        sampler_of(THINKING, 200).logprobs(np.zeros(200, np.float32), token, top)
