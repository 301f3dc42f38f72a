"""Which tokens may be drawn, and which one is drawn: the compiled sampler against the NumPy oracle, token by token."""

from __future__ import annotations

import numpy as np
import pytest
import sampling_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_cases import KINDS, check_answer, random_logits, random_params

from qwen3cpu._sampling import weights_of
from qwen3cpu.engine.sampling import NON_THINKING, THINKING, Sampler, SamplingParams
from qwen3cpu.errors import ArgumentError, EngineError

QWEN3_VOCAB = 151_936
QWEN3_TOKENS = 151_669


@pytest.mark.parametrize("kind", KINDS)
def test_random_cases_equal_the_oracle(kind: str) -> None:
    rng = np.random.default_rng([7, KINDS.index(kind)])
    compared = 0
    for _ in range(700):
        n = int(rng.choice([1, 2, 15, 63, 64, 65, 128, 200, 700]))
        token_limit = n if rng.random() < 0.5 else int(rng.integers(1, n + 1))
        params = random_params(rng, token_limit)
        rows = [random_logits(rng, n, kind) for _ in range(3)]
        compared += check_answer(rng, rows, params, token_limit)
    assert compared > 1000  # most cases give a token, except for rows where all are banned


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_qwen3s_size_equal_the_oracle(kind: str) -> None:
    rng = np.random.default_rng([8, KINDS.index(kind)])
    settings_ = [
        THINKING,
        NON_THINKING,
        SamplingParams(),
        SamplingParams(top_p=0.9),
        SamplingParams(top_p=0.9999, temperature=2.0),
        SamplingParams(top_p=0.99999),  # a few peaks have almost this much
        SamplingParams(top_k=3000, top_p=0.95),
        SamplingParams(top_k=70_000, top_p=0.5, temperature=1.5),
        SamplingParams(min_p=0.02, presence_penalty=1.5, repetition_penalty=1.1),
        SamplingParams(temperature=0.0),
    ]
    for i, params in enumerate(settings_):
        check_answer(rng, [random_logits(rng, QWEN3_VOCAB, kind)] * 2, params.replace(seed=i), QWEN3_TOKENS)


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
params_of_any_kind = st.builds(
    SamplingParams,
    temperature=st.floats(0, 1e3),
    top_k=st.integers(0, 80),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    repetition_penalty=st.floats(0.01, 100),
    logit_bias=st.dictionaries(st.integers(0, 5), st.floats(allow_nan=False), max_size=3),
    seed=st.integers(0, 2**64 - 1),
)


@given(
    logits=st.lists(
        st.one_of(finite, st.just(float("-inf")), st.sampled_from([0.0, -0.0, 1.0])), min_size=6, max_size=80
    ),
    params=params_of_any_kind,
    prompt=st.lists(st.integers(0, 5), max_size=4),
)
@settings(derandomize=True, deadline=None, max_examples=400)
def test_any_settings_equal_the_oracle(logits: list[float], params: SamplingParams, prompt: list[int]) -> None:
    row = np.array(logits, np.float32)
    sampler = Sampler(params, vocab_size=len(row), token_limit=len(row), prompt=prompt)
    answer: list[int] = []
    for _ in range(3):
        if len(oracle.candidates(row, params, prompt, answer, len(row))[0]) == 0:
            with pytest.raises(ArgumentError, match="no token can be drawn"):
                sampler.sample(row)
            return
        expected = oracle.choose(row, params, prompt=prompt, answer=answer, token_limit=len(row), seed=params.seed or 0)
        assert sampler.sample(row) == expected
        answer.append(expected)


def sampler_of(params: SamplingParams, n: int, **more: object) -> Sampler:
    return Sampler(params.replace(seed=5), **{"vocab_size": n, "token_limit": n, "prompt": [], **more})


def test_weights_are_rounded_powers_and_never_rise() -> None:
    distances = -np.concatenate([np.linspace(0, 60, 200_001), [1e-300, 1e300, np.inf, 0.5, 45.0, 46.0]])
    weights = weights_of(distances)
    exact = np.exp2(distances.astype(np.longdouble)) * 2**44
    # Half a unit of rounding, and 4 units in the last place of a double, 2^-50 of at most 2^44.
    assert np.abs(weights - exact).max() <= 0.5 + 2.0**-6
    assert weights_of(np.zeros(1))[0] == 2**44
    assert (np.diff(weights[:200_001]) <= 0).all()


def test_equal_logits_are_ordered_by_id() -> None:
    row = np.array([1, 3, 2, 3, 3, 2], np.float32)
    for k, ids in [(1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (4, [1, 2, 3, 4])]:
        assert sampler_of(SamplingParams(top_k=k), 6).distribution(row)[0].tolist() == ids
    assert sampler_of(SamplingParams(temperature=0), 6).sample(row) == 1
    # Four equal tokens of a quarter each: a token is kept while those before it have less than top_p.
    quarters = np.zeros(4, np.float32)
    for p, ids in [(0.0, [0]), (0.25, [0]), (0.2500001, [0, 1]), (0.5, [0, 1]), (0.75, [0, 1, 2])]:
        assert sampler_of(SamplingParams(top_p=p), 4).distribution(quarters)[0].tolist() == ids


def test_filters_apply_in_the_order_of_transformers() -> None:
    probabilities = np.array([0.4, 0.3, 0.2, 0.1])
    row = np.log(probabilities).astype(np.float32)
    # top_p 0.75 alone keeps three tokens (0.7 is short of it); after top_k 2 the first has 0.4 / 0.7 = 0.571.
    assert sampler_of(SamplingParams(top_p=0.75), 4).distribution(row)[0].tolist() == [0, 1, 2]
    assert sampler_of(SamplingParams(top_p=0.75, top_k=2), 4).distribution(row)[0].tolist() == [0, 1]
    assert sampler_of(SamplingParams(top_p=0.57, top_k=2), 4).distribution(row)[0].tolist() == [0]
    # min_p does not make top_p start from a smaller total: with all four tokens, top_p stops before the third.
    assert sampler_of(SamplingParams(top_p=0.72, min_p=0.6), 4).distribution(row)[0].tolist() == [0, 1]
    # The temperature comes before top_p: at 0.5 the shares are 16 : 9 : 4 : 1.
    ids, found = sampler_of(SamplingParams(temperature=0.5, top_p=0.8), 4).distribution(row)
    assert ids.tolist() == [0, 1]
    np.testing.assert_allclose(found, [16 / 25, 9 / 25], rtol=1e-6)  # the logits are rounded to float32


def test_penalties_touch_the_right_tokens() -> None:
    row = np.array([2, 2, -2, -2, 0], np.float32)

    def logits_of(params: SamplingParams, prompt: list[int], answer: list[int]) -> list[float]:
        """The adjusted logits, computed from the probabilities relative to token 4, which has no penalty."""
        sampler = sampler_of(params, 5, prompt=prompt)
        for token in answer:
            sampler.accept(token)
        _, p = sampler.distribution(row)
        return [round(float(v), 5) for v in np.log(p / p[4])]

    assert logits_of(SamplingParams(), [0], [1]) == [2, 2, -2, -2, 0]
    assert logits_of(SamplingParams(repetition_penalty=2.0), [0, 2, 2], [3]) == [1, 2, -4, -4, 0]
    assert logits_of(SamplingParams(presence_penalty=0.5), [0], [1, 1, 2]) == [2, 1.5, -2.5, -2, 0]
    assert logits_of(SamplingParams(frequency_penalty=0.5), [0], [1, 1, 2]) == [2, 1, -2.5, -2, 0]
    assert logits_of(SamplingParams(logit_bias={0: -1.0, 3: 2.5}), [], []) == [1, 2, -2, 0.5, 0]


def test_a_sampled_token_counts_for_the_penalties() -> None:
    row = np.array([3.0, 2.0, 1.5, 0.0], np.float32)
    sampler = sampler_of(SamplingParams(temperature=0, presence_penalty=2.0), 4)
    assert [sampler.sample(row) for _ in range(4)] == [0, 1, 2, 0]


def test_infinite_biases() -> None:
    row = np.array([9.0, 1.0, 0.0, 5.0], np.float32)
    banned = sampler_of(SamplingParams(temperature=0, logit_bias={0: -np.inf}), 4)
    assert banned.sample(row) == 3
    # Only the tokens with +inf are left, at their own logits; a finite bias on others changes nothing.
    forced = sampler_of(SamplingParams(logit_bias={1: np.inf, 2: np.inf, 3: 50.0}), 4)
    ids, p = forced.distribution(row)
    assert ids.tolist() == [1, 2]
    np.testing.assert_allclose(p, [np.e / (1 + np.e), 1 / (1 + np.e)], rtol=1e-12)
    # A ban holds, however large another penalty makes the logit.
    params = SamplingParams(temperature=0, repetition_penalty=1e-308, logit_bias={0: -np.inf})
    assert Sampler(params, vocab_size=4, token_limit=4, prompt=[0]).sample(row) == 3
    with pytest.raises(ArgumentError, match="all 4 tokens are -inf"):
        sampler_of(SamplingParams(logit_bias=dict.fromkeys(range(4), -np.inf)), 4).sample(row)
    row[1:3] = -np.inf
    with pytest.raises(ArgumentError, match=r"all tokens with a bias of \+inf are -inf"):
        forced.sample(row)


def test_rows_without_a_token_are_never_drawn() -> None:
    row = np.zeros(QWEN3_VOCAB, np.float32)
    row[QWEN3_TOKENS:] = 50.0
    row[QWEN3_TOKENS - 1] = 40.0
    for params in (SamplingParams(), THINKING, SamplingParams(temperature=0), SamplingParams(top_p=0.9)):
        sampler = sampler_of(params, QWEN3_VOCAB, token_limit=QWEN3_TOKENS)
        assert sampler.sample(row) == QWEN3_TOKENS - 1
    row[QWEN3_TOKENS:] = np.nan  # not looked at either
    assert sampler_of(THINKING, QWEN3_VOCAB, token_limit=QWEN3_TOKENS).sample(row) == QWEN3_TOKENS - 1


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("n", [1, 5, 64, 200])
@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_what_is_not_a_logit_is_refused_by_position(value: float, n: int, penalty: float) -> None:
    everything = list(range(n))
    for params in (SamplingParams(), SamplingParams(temperature=0), SamplingParams(logit_bias={0: np.inf})):
        sampler = sampler_of(params.replace(repetition_penalty=penalty), n, prompt=everything)
        for position in {0, n // 2, n - 1}:
            row = np.full(n, -np.inf, np.float32)
            row[0] = 0.0
            row[position] = value
            with pytest.raises(
                EngineError, match=rf"logits\[{position}\] is (nan|inf): expected a finite number or -inf"
            ):
                sampler.sample(row)


def test_sums_that_overflow_are_no_error() -> None:
    row = np.full(256, 3.4e38, np.float32)
    row[::2] = -np.inf
    assert sampler_of(SamplingParams(temperature=0), 256).sample(row) == 1


def test_an_error_leaves_the_sampler_as_it_was() -> None:
    row = np.linspace(0, 3, 50).astype(np.float32)
    bad = row.copy()
    bad[3] = np.nan
    plain, disturbed = (sampler_of(SamplingParams(frequency_penalty=0.5), 50) for _ in range(2))
    for _ in range(20):
        with pytest.raises(EngineError):
            disturbed.sample(bad)
        disturbed.distribution(row)
        assert disturbed.sample(row) == plain.sample(row)


def test_logits_are_not_modified_and_may_be_read_only_or_strided() -> None:
    both = np.random.default_rng(3).normal(size=(2, 300)).astype(np.float32)
    before = both.copy()
    both.flags.writeable = False
    params = THINKING.replace(repetition_penalty=1.3, presence_penalty=1.0, logit_bias={4: 1.0, 5: -np.inf})
    contiguous, strided = (sampler_of(params, 300, prompt=[1, 2, 3]) for _ in range(2))
    table = np.asfortranarray(both)
    for _ in range(5):
        assert contiguous.sample(both[1]) == strided.sample(table[1])
    contiguous.logprobs(both[0], 3, top=5)
    assert (both == before).all()


def test_distribution_equals_transformers() -> None:
    """Support and probabilities of transformers' own processors, in its order, in float32."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    rng = np.random.default_rng(11)
    compared = 0
    for _ in range(300):
        n = 400
        temperature, top_k, top_p = (
            float(rng.uniform(0.3, 1.5)),
            int(rng.integers(2, 80)),
            float(rng.uniform(0.3, 0.99)),
        )
        min_p, penalty = float(rng.choice([1e-6, 0.02, 0.1])), float(rng.choice([0.8, 1.0, 1.2]))
        row = rng.normal(0, 3, n).astype(np.float32)
        context = rng.integers(0, n, 30)
        params = SamplingParams(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty, seed=0
        )
        sampler = Sampler(params, vocab_size=n, token_limit=n, prompt=context[:20].tolist())
        for token in context[20:]:
            sampler.accept(int(token))
        ids, found = sampler.distribution(row)

        # Cases where a cut falls within the rounding of float32 sums are skipped, because either result is right.
        whole = params.replace(top_p=1.0, min_p=0.0)
        _, weights = oracle.candidates(row, whole, context[:20].tolist(), context[20:].tolist(), n)
        shares = np.sort(weights)[::-1] / weights.sum()
        cuts = np.concatenate([np.abs(np.cumsum(shares) - top_p), np.abs(shares / shares[0] - min_p)])
        if cuts.min() < 1e-5:
            continue
        compared += 1

        processors = transformers.LogitsProcessorList(
            [
                transformers.RepetitionPenaltyLogitsProcessor(penalty),
                transformers.TemperatureLogitsWarper(temperature),
                transformers.TopKLogitsWarper(top_k),
                transformers.TopPLogitsWarper(top_p),
                transformers.MinPLogitsWarper(min_p),
            ]
        )
        scores = processors(torch.from_numpy(context)[None], torch.from_numpy(row.copy())[None])
        expected = torch.softmax(scores[0].double(), dim=-1).numpy()
        assert ids.tolist() == np.flatnonzero(expected).tolist()
        # Scores up to 15 / 0.3 = 50, rounded to float32 three times: 3 * 50 * 2^-24 = 9e-6 each, twice in a ratio.
        np.testing.assert_allclose(found, expected[ids], rtol=2e-5)
    assert compared > 200
