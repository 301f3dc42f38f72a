"""top_n_sigma, typical_p, XTC: which tokens they keep by definition, alone and in order, and their random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sampling_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_cases import KINDS, Texts, check_answer, random_logits

from qwen3cpu._sampling import random_word
from qwen3cpu.engine.sampling import Sampler, SamplingParams

QWEN3_VOCAB = 151_936
QWEN3_TOKENS = 151_669


def sampler_of(n: int, **params: object) -> Sampler:
    return Sampler(SamplingParams(**{"seed": 5, **params}), vocab_size=n, token_limit=n, prompt=[], texts=Texts(n))


def kept(probabilities: list[float], **params: object) -> list[int]:
    """Ids of the tokens that may be drawn from a distribution."""
    row = np.log(np.array(probabilities)).astype(np.float32)
    return sampler_of(len(row), **params).distribution(row)[0].tolist()


# Against the definitions

ROWS = st.lists(
    st.one_of(
        st.floats(-30, 30, width=32),
        st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.4e38, -3.4e38, float("-inf")]),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=60,
).filter(lambda row: max(row) > float("-inf"))


def check_kept(row: list[float], params: SamplingParams) -> None:
    logits = np.array(row, np.float32)
    sampler = Sampler(params, vocab_size=len(row), token_limit=len(row), prompt=[])
    for place in range(3):
        expected = oracle.candidates(logits, params, [], [0] * place, len(row))[0]
        assert sampler.distribution(logits)[0].tolist() == expected.tolist()
        sampler.accept(0)


@given(row=ROWS, sigmas=st.one_of(st.floats(0, 5), st.sampled_from([0.5, 1.0, 1e308, 5e-324])))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_top_n_sigma_keeps_what_the_definition_says(row: list[float], sigmas: float) -> None:
    check_kept(row, SamplingParams(top_n_sigma=sigmas, seed=1))


@given(row=ROWS, share=st.floats(0, 1), temperature=st.sampled_from([0.3, 1.0, 2.0, 1e300]))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_typical_p_keeps_what_the_definition_says(row: list[float], share: float, temperature: float) -> None:
    check_kept(row, SamplingParams(typical_p=share, temperature=temperature, seed=1))


@given(
    row=ROWS, threshold=st.floats(0, 1), seed=st.integers(0, 2**64 - 1), temperature=st.sampled_from([0.3, 1.0, 2.0])
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_xtc_keeps_what_the_definition_says(row: list[float], threshold: float, seed: int, temperature: float) -> None:
    check_kept(row, SamplingParams(xtc_probability=0.6, xtc_threshold=threshold, temperature=temperature, seed=seed))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_qwen3s_size_equal_the_oracle(kind: str) -> None:
    rng = np.random.default_rng([9, KINDS.index(kind)])
    settings_ = [
        SamplingParams(top_n_sigma=1.0),
        SamplingParams(top_n_sigma=3.0, top_p=0.9, temperature=1.5),
        SamplingParams(typical_p=0.2),
        SamplingParams(typical_p=0.95, temperature=0.6, top_p=0.8),
        SamplingParams(xtc_probability=1.0, xtc_threshold=0.05, min_p=0.02),
        SamplingParams(
            top_n_sigma=2.0, top_k=400, typical_p=0.9, top_p=0.9, min_p=0.01, xtc_probability=0.5, temperature=0.8
        ),
        SamplingParams(dry_multiplier=0.8, temperature=0.0),
    ]
    for i, params in enumerate(settings_):
        check_answer(rng, [random_logits(rng, QWEN3_VOCAB, kind)] * 2, params.replace(seed=i), QWEN3_TOKENS)


def test_typical_p_is_transformers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    rng = np.random.default_rng(12)
    compared = 0
    for _ in range(200):
        row = rng.normal(0, 3, 300).astype(np.float32)
        share = float(rng.uniform(0.05, 0.99))
        scores = transformers.TypicalLogitsWarper(share)(None, torch.from_numpy(row.copy())[None])
        expected = np.flatnonzero(np.isfinite(scores[0].numpy())).tolist()
        # Cases where the cut falls within the rounding of float32 sums are skipped, because either result is right.
        p = np.exp(row - row.max(), dtype=np.float64)
        p /= p.sum()
        gap = np.abs(-np.log(p) + (p * np.log(p)).sum())
        if np.abs(np.cumsum(p[np.argsort(gap)]) - share).min() < 1e-5 or np.diff(np.sort(gap)).min() < 1e-5:
            continue
        compared += 1
        sampler = Sampler(SamplingParams(typical_p=share), vocab_size=300, token_limit=300, prompt=[])
        assert sampler.distribution(row)[0].tolist() == expected
    assert compared > 100


# By hand


def test_top_n_sigma_counts_standard_deviations_from_the_best() -> None:
    row = np.array([0, 0, 0, 4], np.float32)  # the mean is 1, the standard deviation sqrt(3)
    assert sampler_of(4, top_n_sigma=2.30).distribution(row)[0].tolist() == [3]
    assert sampler_of(4, top_n_sigma=2.31).distribution(row)[0].tolist() == [0, 1, 2, 3]
    # Exactly at the limit a token stays: 1 - 2 * 0.5 = 0.
    even = np.array([0, 1], np.float32)
    assert sampler_of(2, top_n_sigma=2.0).distribution(even)[0].tolist() == [0, 1]
    assert sampler_of(2, top_n_sigma=1.999).distribution(even)[0].tolist() == [1]


def test_banned_tokens_and_rows_without_a_token_do_not_count_for_sigma() -> None:
    row = np.array([0, 0, 0, 4, -np.inf, -1000], np.float32)
    params = SamplingParams(top_n_sigma=2.31, seed=5)
    assert Sampler(params, vocab_size=6, token_limit=5, prompt=[]).distribution(row)[0].tolist() == [0, 1, 2, 3]
    assert Sampler(params, vocab_size=6, token_limit=6, prompt=[]).distribution(row)[0].tolist() == [0, 1, 2, 3]
    params = params.replace(logit_bias={5: -math.inf}, top_n_sigma=2.30)
    assert Sampler(params, vocab_size=6, token_limit=6, prompt=[]).distribution(row)[0].tolist() == [3]


def test_typical_p_may_drop_the_best_token() -> None:
    # Entropy 1.98 bits; surprises 1.32, 2.32 (three times), 3.32 bits: gaps 0.66, 0.34, 1.34.
    probabilities = [0.4, 0.2, 0.2, 0.1, 0.1]
    probabilities[3:] = [0.2, 1e-9]
    assert kept(probabilities, typical_p=0.5) == [1, 2, 3]
    assert kept(probabilities, typical_p=0.7) == [0, 1, 2, 3]
    assert kept(probabilities, typical_p=0.0) == [1]


def test_xtc_leaves_the_least_likely_of_the_likely_ones() -> None:
    probabilities = [0.1, 0.4, 0.3, 0.15, 0.05]
    assert kept(probabilities, xtc_probability=1, xtc_threshold=0.12) == [0, 3, 4]
    assert kept(probabilities, xtc_probability=1, xtc_threshold=0.35) == [0, 1, 2, 3, 4]
    assert kept(probabilities, xtc_probability=1, xtc_threshold=0.0) == [4]
    assert kept([0.25, 0.25, 0.25, 0.25], xtc_probability=1, xtc_threshold=0.25) == [3]
    assert kept([1.0], xtc_probability=1, xtc_threshold=0.0) == [0]


def test_the_order_is_the_documented_one() -> None:
    probabilities = [0.4, 0.3, 0.2, 0.1]
    # Of two tokens with 4/7 and 3/7 both gaps are small; of all four the middle ones are typical.
    assert kept(probabilities, typical_p=0.3) == [1]
    assert kept(probabilities, typical_p=0.3, top_k=1) == [0]
    # top_p sees what typical_p has left: token 1 alone.
    assert kept(probabilities, typical_p=0.3, top_p=0.1) == [1]
    assert kept(probabilities, typical_p=0.5, top_p=0.55) == [1]
    # XTC sees the shares of what min_p has left: 0.4, 0.3 and 0.2 of 0.9.
    assert kept(probabilities, xtc_probability=1, xtc_threshold=0.22) == [1, 2, 3]
    assert kept(probabilities, xtc_probability=1, xtc_threshold=0.22, min_p=0.4) == [2]
    # top_n_sigma comes before top_k and looks at all logits. If it saw the two best alone, it would keep both.
    row = np.array([0, 0, 0, 0, 0, 0, 9, 10], np.float32)
    assert sampler_of(8, top_n_sigma=0.2).distribution(row)[0].tolist() == [7]
    assert sampler_of(8, top_n_sigma=2.0, top_k=2).distribution(row)[0].tolist() == [6, 7]


@pytest.mark.parametrize("temperature", [1e-5, 0.5, 1.0, 3.0])
def test_typical_p_and_xtc_look_at_the_probabilities_before_the_temperature(temperature: float) -> None:
    probabilities = [0.4, 0.3, 0.2, 0.1]
    row = np.log(np.array(probabilities)).astype(np.float32)
    sampler = sampler_of(4, temperature=temperature, typical_p=0.5)
    ids, found = sampler.distribution(row)
    assert set(ids.tolist()) <= {1, 2}
    assert ids.tolist() == ([1] if temperature == 1e-5 else [1, 2])
    # The temperature then applies to the tokens that are left.
    expected = (np.array([0.3, 0.2][: len(ids)]) / 0.3) ** (1 / temperature)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-6)
    sampler = sampler_of(4, temperature=temperature, xtc_probability=1, xtc_threshold=0.25)
    assert sampler.distribution(row)[0].tolist() == ([1] if temperature == 1e-5 else [1, 2, 3])


def test_greedy_answers_take_the_best_token_whatever_the_filters_say() -> None:
    row = np.log(np.array([0.3, 0.4, 0.2, 0.1])).astype(np.float32)
    everything = {"typical_p": 0.1, "xtc_probability": 1, "xtc_threshold": 0.0, "top_n_sigma": 0.1}
    assert sampler_of(4, temperature=0, **everything).sample(row) == 1


# Chance


def test_the_coin_is_the_word_after_the_one_that_draws() -> None:
    for seed, stream, index in [(0, 0, 0), (5, 1, 2), (2**64 - 1, 3, 2**40)]:
        key = np.array([seed, stream], dtype=np.uint64)
        words = np.random.Philox(key=key, counter=index).random_raw(2)
        assert [random_word(seed, stream, index), random_word(seed, stream, index, True)] == words.tolist()


def test_xtc_acts_at_the_places_that_the_seed_says() -> None:
    row = np.log(np.array([0.5, 0.4, 0.1])).astype(np.float32)
    params = SamplingParams(xtc_probability=0.3, seed=11)
    sampler = Sampler(params, vocab_size=3, token_limit=3, prompt=[], stream=2)
    plain = Sampler(SamplingParams(seed=11), vocab_size=3, token_limit=3, prompt=[], stream=2)
    acted = []
    for place in range(400):
        acted.append(sampler.distribution(row)[0].tolist() == [1, 2])
        assert acted[-1] == (oracle.coin(11, 2, place) < 0.3)
        token, without = sampler.sample(row), plain.sample(row)
        assert acted[-1] or token == without
    # 120 are expected, the standard deviation is 9.2.
    assert 80 < sum(acted) < 160


def test_the_share_of_a_coin_that_never_and_always_falls() -> None:
    row = np.zeros(5, np.float32)
    never, always = sampler_of(5, xtc_probability=5e-324), sampler_of(5, xtc_probability=1.0)
    for _ in range(100):
        assert len(never.distribution(row)[0]) == 5
        assert always.distribution(row)[0].tolist() == [4]
        never.accept(0)
        always.accept(0)


def test_with_all_of_them_off_nothing_is_different() -> None:
    """Tokens of a fixed answer, recorded before these samplers existed."""
    rows = np.random.default_rng(21).normal(0, 3, (8, 1000)).astype(np.float32)
    params = SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.02, presence_penalty=0.5, seed=3)
    sampler = Sampler(params, vocab_size=1000, token_limit=990, prompt=[1, 2, 3])
    assert [sampler.sample(row) for row in rows] == [926, 822, 477, 825, 688, 583, 451, 544]
