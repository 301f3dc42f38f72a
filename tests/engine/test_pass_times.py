"""The time of a pass over several tokens: learned from passes of any size, while the machine's speed drifts."""

import random

import pytest

from qwen3cpu.engine.pass_times import FIRST_GUESS, MOST_TOKENS, PassTimes


def true_multiple(tokens):
    return 1 + 0.04 * (tokens - 1) + (0.3 if tokens > 8 else 0.0)


def test_a_guess_before_anything_is_known():
    times = PassTimes()
    assert times[1] == 1
    assert times[11] == pytest.approx(1 + 10 * FIRST_GUESS)


def test_it_learns_while_the_machine_drifts():
    rng = random.Random(1)
    times = PassTimes()
    for step in range(3000):
        tokens = rng.choice((1, 1, 1, 2, 3, 5, 8, 9, 12))
        speed = 0.02 * (1.5 if step > 2000 else 1.0) * rng.uniform(0.95, 1.05)
        times.note(tokens, speed * true_multiple(tokens))
    for tokens in (2, 3, 5, 8, 9, 12):
        assert times[tokens] == pytest.approx(true_multiple(tokens), rel=0.06)
    assert times[4] == pytest.approx((times[3] + times[5]) / 2)  # never seen: between its neighbours
    assert times[40] > times[12]


def test_a_pass_that_was_held_up_changes_little():
    times = PassTimes()
    for _ in range(50):
        times.note(1, 0.02)
        times.note(4, 0.024)
    before = times[4]
    times.note(4, 5.0)
    assert times[4] < 1.06 * before
    times.note(1, 5.0)
    for _ in range(50):
        times.note(1, 0.02)
        times.note(4, 0.024)
    assert times[4] == pytest.approx(before, rel=0.03)


def test_a_batch_that_is_never_alone_still_learns_what_a_token_costs():
    times = PassTimes()
    for step in range(2000):
        tokens = 4 + step % 5
        times.note(tokens, 0.03 * true_multiple(tokens))
    for tokens in range(4, 9):
        assert times[tokens] / times[4] == pytest.approx(true_multiple(tokens) / true_multiple(4), rel=0.03)


@pytest.mark.parametrize(("tokens", "seconds"), [(0, 1.0), (-1, 1.0), (MOST_TOKENS + 1, 1.0), (3, 0.0), (3, -1.0)])
def test_what_says_nothing_is_left_out(tokens, seconds):
    times = PassTimes()
    times.note(tokens, seconds)
    assert times[3] == pytest.approx(1 + 2 * FIRST_GUESS)
