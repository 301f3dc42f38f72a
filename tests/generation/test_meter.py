"""The times and counts of an answer, by a clock that the test sets."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from qwen3cpu.generation.meter import Meter


class Clock:
    """A clock that shows the time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def answered(clock: Clock, *, prompt: int = 10, shared: bool = False, tokens: int = 5):
    """Timings of an answer: 2 s for its prompt, 1 s more to its first token, 8 s for the others."""
    meter = Meter(clock, prompt)
    if shared:
        meter.share_prompt()
    else:
        meter.processed(0, prompt)
    clock.now += 2
    meter.prompt_done()
    clock.now += 1
    meter.first_token()
    clock.now += 8
    return meter.timings(tokens)


def test_each_stretch_of_time_is_told_apart(clock):
    timings = answered(clock)
    assert timings.prompt_seconds == 2
    assert timings.first_token_seconds == 3
    assert timings.decode_seconds == 8
    assert timings.total_seconds == 11
    assert timings.prompt_tokens_per_second == 10 / 2


@pytest.mark.parametrize(("tokens", "decoded"), [(0, 0), (1, 0), (2, 1), (5, 4)])
def test_the_first_token_is_the_prompts_and_counts_into_no_speed(clock, tokens, decoded):
    assert answered(clock, tokens=tokens).tokens_per_second == decoded / 8


def test_a_prompt_that_another_answer_processed_took_no_time(clock):
    timings = answered(clock, shared=True)
    assert (timings.prompt_seconds, timings.prompt_tokens_per_second) == (0, 0)
    assert timings.first_token_seconds == 3


def test_without_a_token_all_time_is_the_prompts(clock):
    meter = Meter(clock, 10)
    meter.processed(0, 10)
    clock.now += 4
    meter.end_with_prompt()
    timings = meter.timings(0)
    assert (timings.prompt_seconds, timings.first_token_seconds, timings.decode_seconds) == (4, 4, 0)
    assert timings.tokens_per_second == 0


@pytest.mark.parametrize(
    ("pieces", "cached"),
    [
        ([(0, 10)], 0),
        ([(4, 10)], 4),
        ([(4, 8), (8, 10), (10, 11)], 4),
        ([(4, 8), (8, 12)], 4),  # a draft is processed together with the end of the prompt
        ([(4, 10), (0, 10)], 0),  # processed again after a preemption: the count is not below zero
    ],
)
def test_what_the_cache_had_of_a_prompt(clock, pieces, cached):
    meter = Meter(clock, 10)
    for start, end in pieces:
        meter.processed(start, end)
    usage = meter.usage(7, 3)
    assert usage.cached_tokens == cached
    assert (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens) == (10, 7, 3)


def test_an_answer_says_when_its_prompt_is_done_and_when_a_token_is_chosen(random_model, monkeypatch):
    """The clock advances by one at each reading, so that every moment has its own number."""
    looks = itertools.count()
    answerer = random_model.answerer
    surroundings = replace(answerer.surroundings, clock=lambda: float(next(looks)))
    monkeypatch.setattr(answerer, "surroundings", surroundings)
    timings = random_model.generate("hello", seed=6, max_new_tokens=3, ignore_eos=True).timings
    moments = (timings.prompt_seconds, timings.first_token_seconds, timings.decode_seconds, timings.total_seconds)
    assert moments == (1, 2, 1, 3)
