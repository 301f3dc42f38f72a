"""DRY: which tokens would continue a repetition, and their penalties, compared with trying every place."""

from __future__ import annotations

import numpy as np
import pytest
import sampling_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_cases import Texts

from qwen3cpu._sampling import Repeats
from qwen3cpu.engine.sampling import Sampler, SamplingParams
from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.sequence_breakers import SequenceBreakers

SIZE = 40
NO_BREAKERS: tuple[str, ...] = ()


def repeats_of(tokens: list[int], params: SamplingParams, size: int = SIZE) -> Repeats:
    return Repeats(
        vocab_size=size,
        multiplier=params.dry_multiplier,
        base=params.dry_base,
        allowed_length=params.dry_allowed_length,
        last_n=params.dry_penalty_last_n,
        breakers=SequenceBreakers(params.dry_sequence_breakers, Texts(size)),
        prompt=tokens,
    )


def penalties(tokens: list[int], **params: object) -> dict[int, float]:
    chosen = SamplingParams(**{"dry_multiplier": 1.0, "dry_base": 2.0, "dry_sequence_breakers": NO_BREAKERS, **params})
    found = dict(repeats_of(tokens, chosen).penalties())
    assert found == oracle.repeats(chosen, tokens, Texts(SIZE))
    return found


settings_of_any_kind = st.builds(
    SamplingParams,
    dry_multiplier=st.sampled_from([0.5, 1.0, 3.0, 1e300]),
    dry_base=st.sampled_from([1.0, 1.75, 2.0, 1e200]),
    dry_allowed_length=st.integers(0, 5),
    dry_penalty_last_n=st.one_of(st.integers(-1, 30), st.just(10**30)),
    dry_sequence_breakers=st.sampled_from([(), ("\n", ":", '"', "*"), ("ab",), ("b:", "é", "abc"), ("aaa",)]),
)


@given(
    tokens=st.one_of(
        st.lists(st.integers(0, 2), max_size=40),
        st.lists(st.integers(0, SIZE - 1), max_size=40),
        # A repeated text whose beginning is cut off.
        st.builds(
            lambda tokens, times, cut: (tokens * times)[cut:],
            st.lists(st.integers(0, 14), min_size=1, max_size=12),
            st.integers(1, 5),
            st.integers(0, 8),
        ),
    ),
    params=settings_of_any_kind,
)
@settings(derandomize=True, deadline=None, max_examples=600)
def test_any_text_equals_the_oracle(tokens: list[int], params: SamplingParams) -> None:
    found = dict(repeats_of(tokens, params).penalties())
    expected = oracle.repeats(params, tokens, Texts(SIZE))
    assert found.keys() == expected.keys()
    # Powers by squaring and by the C library differ by some units in the last place.
    assert list(found.values()) == pytest.approx([expected[token] for token in found], rel=1e-13)


@given(tokens=st.lists(st.integers(0, 14), min_size=1, max_size=30), cut=st.integers(0, 30))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_tokens_of_the_answer_count_as_those_of_the_prompt(tokens: list[int], cut: int) -> None:
    params = SamplingParams(dry_multiplier=1.0, dry_allowed_length=1)
    whole, grown = repeats_of(tokens, params), repeats_of(tokens[:cut], params)
    for token in tokens[cut:]:
        grown.penalties()
        grown.push(token)
    assert grown.penalties() == whole.penalties()


def test_the_cost_grows_with_the_repetition() -> None:
    # After "0 1 2 0 1" the 2 would continue the repetition of "0 1".
    assert penalties([0, 1, 2, 0, 1]) == {2: 1.0}
    assert penalties([0, 1, 2, 3, 0, 1, 2]) == {3: 2.0}
    assert penalties([0, 1, 2, 3, 4, 0, 1, 2, 3], dry_multiplier=3.0, dry_base=1.5) == {4: 3.0 * 1.5**2}
    assert penalties([0, 1, 2, 3, 0, 1, 2], dry_allowed_length=4) == {}
    assert penalties([0, 1, 2]) == {}
    assert penalties([]) == {}


def test_the_longest_of_several_repetitions_counts() -> None:
    assert penalties([0, 1, 2, 5, 1, 2, 6, 0, 1, 2], dry_allowed_length=2) == {5: 2.0, 6: 1.0}
    assert penalties([0, 1, 2, 5, 1, 2, 5, 0, 1, 2], dry_allowed_length=2) == {5: 2.0}


def test_repetitions_may_overlap() -> None:
    assert penalties([6] * 7) == {6: 2.0**4}
    assert penalties([0, 1] * 4) == {0: 2.0**4}


def test_only_the_last_tokens_are_looked_at() -> None:
    tokens = [0, 1, 2, 6, 6, 7, 0, 1]
    assert penalties(tokens) == {2: 1.0}
    assert penalties(tokens, dry_penalty_last_n=8) == {2: 1.0}
    assert penalties(tokens, dry_penalty_last_n=7) == {}
    assert penalties(tokens, dry_penalty_last_n=7, dry_allowed_length=1) == {2: 1.0}
    assert penalties(tokens, dry_penalty_last_n=0) == {}


def test_a_repetition_counts_from_the_last_breaker() -> None:
    """Token 4 is ":", token 3 is "b:"."""
    assert penalties([0, 4, 1, 2, 0, 4, 1], dry_allowed_length=1) == {2: 2.0**2}
    assert penalties([0, 4, 1, 2, 0, 4, 1], dry_allowed_length=1, dry_sequence_breakers=[":"]) == {2: 1.0}
    assert penalties([0, 4, 1, 2, 0, 4, 1], dry_allowed_length=2, dry_sequence_breakers=[":"]) == {}
    # Directly after a breaker nothing has been repeated.
    assert penalties([0, 1, 4, 2, 0, 1, 4], dry_allowed_length=1, dry_sequence_breakers=[":"]) == {}


def test_breakers_are_not_penalised() -> None:
    assert penalties([0, 1, 4, 2, 0, 1], dry_sequence_breakers=[":"]) == {}
    assert penalties([0, 1, 3, 2, 0, 1], dry_sequence_breakers=[":"]) == {}
    assert penalties([0, 1, 5, 2, 0, 1]) == {5: 1.0}
    assert penalties([0, 1, 5, 2, 0, 1], dry_sequence_breakers=["\n"]) == {}


def test_control_tokens_break_whatever_the_breakers_are() -> None:
    """Tokens 12 and 25: the tokens of a chat template neither make a repetition nor are penalised."""
    assert penalties([0, 1, 12, 2, 0, 1]) == {}
    assert penalties([25, 0, 1, 7, 25, 0, 1], dry_allowed_length=2) == {7: 1.0}
    assert penalties([0, 25, 1, 7, 0, 25, 1], dry_allowed_length=2) == {}


def test_huge_costs_do_not_ban_a_token() -> None:
    texts = Texts(SIZE)
    params = SamplingParams(dry_multiplier=1e300, dry_base=1e300, dry_sequence_breakers=NO_BREAKERS, seed=1)
    row = np.full(SIZE, -np.inf, np.float32)
    row[2] = 5.0
    sampler = Sampler(params, vocab_size=SIZE, token_limit=SIZE, prompt=[0, 1, 2] * 3 + [0, 1], texts=texts)
    assert sampler.sample(row) == 2
    # It is less likely than another token, even if repetition_penalty moves its logit out of the range of floats.
    row[3] = -3e38
    for penalty in (1.0, 5e-324, 1e300):
        sampler = Sampler(
            params.replace(temperature=0, repetition_penalty=penalty),
            vocab_size=SIZE,
            token_limit=SIZE,
            prompt=[0, 1, 2] * 3 + [0, 1],
            texts=texts,
        )
        assert sampler.sample(row) == (2 if penalty == 5e-324 else 3)


def test_penalties_last_for_one_token() -> None:
    params = SamplingParams(temperature=0, dry_multiplier=5.0, dry_sequence_breakers=NO_BREAKERS)
    row = np.zeros(SIZE, np.float32)
    row[2], row[6] = 3.0, 1.0
    sampler = Sampler(params, vocab_size=SIZE, token_limit=SIZE, prompt=[0, 1, 2, 0, 1], texts=Texts(SIZE))
    assert [sampler.sample(row) for _ in range(3)] == [6, 2, 2]


def test_greedy_loops_come_to_an_end() -> None:
    """A model that would repeat 0 1 2 endlessly: each token is by far the likeliest after the one before."""
    params = SamplingParams(temperature=0, dry_multiplier=0.8, dry_sequence_breakers=NO_BREAKERS)

    def answer(chosen: SamplingParams) -> list[int]:
        sampler = Sampler(chosen, vocab_size=SIZE, token_limit=SIZE, prompt=[0], texts=Texts(SIZE))
        said = [0]
        for _ in range(60):
            row = np.zeros(SIZE, np.float32)
            row[(said[-1] + 1) % 3] = 6.0
            row[7] = 0.5
            said.append(sampler.sample(row))
        return said

    assert answer(params.replace(dry_multiplier=0.0)) == [i % 3 for i in range(61)]
    assert 7 in answer(params)


def test_dry_needs_the_texts_of_tokens() -> None:
    with pytest.raises(ArgumentError, match=r"dry_multiplier: expected texts, the tokenizer, with it; found None"):
        Sampler(SamplingParams(dry_multiplier=1.0), vocab_size=10, token_limit=10, prompt=[])
    Sampler(SamplingParams(dry_multiplier=1.0, dry_penalty_last_n=0), vocab_size=10, token_limit=10, prompt=[])
