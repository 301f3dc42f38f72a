"""SamplingParams and the arguments of Sampler: accepted values, and errors for wrong ones."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest

from qwen3cpu.arguments import shown
from qwen3cpu.engine.sampling import NON_THINKING, THINKING, Sampler, SamplingParams
from qwen3cpu.errors import ArgumentError

NAN, INF = float("nan"), float("inf")

REFUSED = {
    "temperature": [-0.1, -1e-300, NAN, INF, 10**400, "1", None, True, 1j],
    "top_k": [-1, 1.0, 20.5, NAN, "20", None, True],
    "top_p": [-0.01, 1.01, NAN, INF, "0.9", None, False],
    "min_p": [-0.01, 1.01, NAN, -INF, None, True],
    "top_n_sigma": [-1, -0.1, NAN, INF, "1", None, True],
    "typical_p": [-0.01, 1.01, NAN, INF, "1", None, True],
    "xtc_probability": [-0.01, 1.01, NAN, INF, None, True],
    "xtc_threshold": [-0.01, 1.01, NAN, -INF, None, True],
    "dry_multiplier": [-0.1, NAN, INF, 10**400, "1", None, True],
    "dry_base": [0.99, 0, -2, NAN, INF, "1", None, True],
    "dry_allowed_length": [-1, 2.0, NAN, "2", None, True],
    "dry_penalty_last_n": [-2, 2.5, NAN, "2", None, True],
    "presence_penalty": [-2.1, 2.1, NAN, INF, None, True],
    "frequency_penalty": [-2.1, 2.1, NAN, INF, "0", True],
    "repetition_penalty": [0.0, -1.0, NAN, INF, None, True],
    "logit_bias": [None, [1, 2], {1: NAN}, {-1: 0.0}, {"1": 0.0}, {True: 1.0}, {1: "x"}, {1: None}, {1.0: 1.0}],
    "seed": [-1, 2**64, 1.0, "1", True],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in REFUSED.items() for v in values])
def test_refusals_name_field_range_and_value(field: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"{field}.* must be an? .+, got ") as caught:
        SamplingParams(**{field: value})
    found = str(caught.value).rpartition(", got ")[2]
    if isinstance(value, dict):
        token, bias = next(iter(value.items()))
        assert repr(token) in str(caught.value)
        assert repr(bias) in found or repr(token) in found
    elif field == "logit_bias":
        assert found == type(value).__name__
    else:
        assert shown(value) in found
    with pytest.raises(ValueError, match=field):  # an ArgumentError is a ValueError
        SamplingParams().replace(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("temperature", 1e308),
        ("temperature", Fraction(1, 2)),
        ("temperature", np.float32(0.5)),
        ("top_k", np.int64(40)),
        ("top_k", 10**30),
        ("top_p", 0),
        ("top_p", 1),
        ("min_p", 1.0),
        ("top_n_sigma", 1e308),
        ("typical_p", 0),
        ("xtc_probability", np.float64(1)),
        ("xtc_threshold", 1),
        ("dry_base", 1),
        ("dry_allowed_length", 10**30),
        ("dry_penalty_last_n", np.int64(-1)),
        ("dry_penalty_last_n", 10**30),
        ("presence_penalty", -2),
        ("frequency_penalty", 2),
        ("repetition_penalty", 5e-324),
        ("seed", 0),
        ("seed", 2**64 - 1),
        ("logit_bias", {np.int32(3): np.float32(1.5), 4: -INF, 5: INF}),
    ],
)
def test_limits_are_accepted_and_become_plain_numbers(field: str, value: object) -> None:
    params = SamplingParams(**{field: value})
    stored = getattr(params, field)
    assert stored == value
    assert type(stored) in (int, float, dict)
    if field == "logit_bias":
        assert all(type(token) is int and type(bias) is float for token, bias in stored.items())
    Sampler(params, vocab_size=10, token_limit=10, prompt=[0]).sample(np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("breakers", "message"),
    [
        (None, "dry_sequence_breakers must be a list of strings, got None of type NoneType"),
        ("abc", "dry_sequence_breakers must be a list of strings, got 'abc' of type str"),
        ({"a"}, "dry_sequence_breakers must be a list of strings, got {'a'} of type set"),
        (["a"] * 65, "dry_sequence_breakers must be a list of at most 64 strings, got 65"),
        (["a", 5], r"dry_sequence_breakers\[1\] must be a string of 1 to 64 characters, got 5 of type int"),
        ([""], r"dry_sequence_breakers\[0\] must be a string of 1 to 64 characters, got 0 characters"),
        (["a", "b" * 65], r"dry_sequence_breakers\[1\] must be a string of 1 to 64 characters, got 65 characters"),
        (["\ud800"], r"dry_sequence_breakers\[0\]: expected Unicode text, found the lone surrogate U\+D800"),
    ],
    ids=str,
)
def test_breakers_are_a_list_of_texts(breakers: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SamplingParams(dry_sequence_breakers=breakers)


def test_breakers_become_a_tuple() -> None:
    assert SamplingParams(dry_sequence_breakers=["a", "b"]).dry_sequence_breakers == ("a", "b")
    assert SamplingParams().dry_sequence_breakers == ("\n", ":", '"', "*")
    assert SamplingParams(dry_sequence_breakers=["x" * 64] * 64) == SamplingParams(
        dry_sequence_breakers=("x" * 64,) * 64
    )
    assert hash(SamplingParams(dry_sequence_breakers=[])) == hash(SamplingParams(dry_sequence_breakers=()))


def test_presets_are_the_authors() -> None:
    assert (THINKING.temperature, THINKING.top_p, THINKING.top_k, THINKING.min_p) == (0.6, 0.95, 20, 0.0)
    assert (NON_THINKING.temperature, NON_THINKING.top_p, NON_THINKING.top_k, NON_THINKING.min_p) == (0.7, 0.8, 20, 0.0)
    assert not THINKING.greedy
    assert SamplingParams(temperature=0).greedy


def test_params_are_values() -> None:
    bias = {1: 2.0}
    params = SamplingParams(logit_bias=bias, seed=3)
    bias[2] = 5.0
    assert params.logit_bias == {1: 2.0}
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.temperature = 2.0
    assert params == SamplingParams(logit_bias={1: 2.0}, seed=3)
    assert hash(params) == hash(SamplingParams(logit_bias={1: 2.0}, seed=3))
    assert pickle.loads(pickle.dumps(params)) == copy.deepcopy(params) == params
    warmer = params.replace(temperature=2)
    assert (warmer.temperature, warmer.seed, params.temperature) == (2.0, 3, 1.0)
    assert params.with_seed(4) == params.replace(seed=4)
    assert params.seed == 3
    with pytest.raises(ArgumentError, match="seed must be an integer from 0"):
        params.with_seed(-1)
    with pytest.raises(
        ArgumentError, match="unknown sampling parameter 'max_tokens': expected one of temperature, top_k"
    ):
        params.replace(max_tokens=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be an integer from 1"),
        ({"vocab_size": 2**18 + 1}, "vocab_size must be an integer from 1 to 262144, got 262145"),
        ({"vocab_size": 10.0}, "vocab_size must be an integer"),
        ({"token_limit": 11}, "token_limit must be an integer from 1 to vocab_size = 10, got 11"),
        ({"token_limit": 0}, "token_limit must be"),
        ({"stream": -1}, "stream must be"),
        ({"stream": 2**64}, "stream must be"),
        ({"prompt": [1, 10]}, r"prompt\[1\] is 10: expected ids from 0 to 9"),
        ({"prompt": [-1]}, r"prompt\[0\] is -1"),
        ({"prompt": [1.5]}, "prompt: expected a sequence of token ids, found float64"),
        ({"prompt": [[1], [2]]}, r"prompt: expected a sequence of token ids, found int64 \[2, 1\]"),
        ({"prompt": [[1], [2, 3]]}, "prompt: expected a sequence of token ids"),
        ({"prompt": "abc"}, "prompt: expected a sequence of token ids"),
        ({"prompt": None}, "prompt: expected a sequence of token ids"),
        ({"prompt": [True]}, "prompt: expected a sequence of token ids, found bool"),
        ({"prompt": [2**70]}, "prompt: expected a sequence of token ids"),
    ],
)
def test_sampler_checks_its_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Sampler(SamplingParams(), **{"vocab_size": 10, "token_limit": 10, "prompt": [], **arguments})


def test_a_bias_must_name_a_token() -> None:
    with pytest.raises(ArgumentError, match="logit_bias names token 8: expected ids from 0 to 7"):
        Sampler(SamplingParams(logit_bias={8: 1.0}), vocab_size=10, token_limit=8, prompt=[])


@pytest.mark.parametrize("prompt", [(1, 2), np.array([1, 2], np.uint32), range(2), [], np.zeros(0, np.int64)])
def test_any_sequence_of_ids_is_a_prompt(prompt: object) -> None:
    sampler = Sampler(SamplingParams(repetition_penalty=2.0), vocab_size=10, token_limit=10, prompt=prompt)
    _, p = sampler.distribution(np.ones(10, np.float32))
    seen = {int(token) for token in prompt}
    assert np.allclose(p, [p.min() if token in seen else p.max() for token in range(10)], rtol=1e-12)
    assert (p.min() < p.max()) == bool(seen)


@pytest.mark.parametrize(
    ("logits", "found"),
    [
        (np.zeros(9, np.float32), r"float32 \[9\]"),
        (np.zeros(10, np.float64), r"float64 \[10\]"),
        (np.zeros((1, 10), np.float32), r"float32 \[1, 10\]"),
        ([0.0] * 10, "list"),
        (None, "NoneType"),
    ],
)
def test_logits_of_another_shape_or_type_are_refused(logits: object, found: str) -> None:
    sampler = Sampler(SamplingParams(), vocab_size=10, token_limit=10, prompt=[])
    for call in (sampler.sample, sampler.distribution, lambda row: sampler.logprobs(row, 0)):
        with pytest.raises(ArgumentError, match=rf"logits: expected a float32 array of shape \[10\], found {found}"):
            call(logits)


@pytest.mark.parametrize("token", [-1, 10, 1.0, "1", None, True])
def test_accept_checks_the_token(token: object) -> None:
    sampler = Sampler(SamplingParams(), vocab_size=10, token_limit=10, prompt=[])
    with pytest.raises(ArgumentError, match="token must be an integer from 0 to 9"):
        sampler.accept(token)


def test_spare_rows_may_stand_in_prompt_and_answer() -> None:
    sampler = Sampler(SamplingParams(repetition_penalty=1.5), vocab_size=10, token_limit=8, prompt=[9])
    sampler.accept(8)
    assert sampler.distribution(np.zeros(10, np.float32))[0].tolist() == list(range(8))
