"""How prompts are cut beside running answers, on simulated machines."""

import pytest

from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.server.scheduling.pace import FIRST_SHARE, GOAL_SECONDS, LEAST_SHARE, Pace


def process(pace, tokens, *, decode, each):
    """Seconds of every step while a prompt is processed beside one running answer; each(position): of a token."""
    steps = []
    position = 0
    while position < tokens:
        share = min(pace.chunk(1) - 1, tokens - position)
        steps.append(decode + sum(each(place) for place in range(position, position + share)))
        pace.note(1, share, steps[-1])
        position += share
    return steps


@pytest.mark.parametrize("each", [0.0002, 0.002, 0.01, 0.03], ids=str)
@pytest.mark.parametrize("decode", [0.01, 0.2], ids=str)
def test_a_step_stays_near_the_goal(decode, each):
    pace = Pace()
    for _ in range(5):
        pace.note(1, 0, decode)
    steps = process(pace, 4000, decode=decode, each=lambda place: each)
    assert max(steps) <= max(GOAL_SECONDS + each, decode + FIRST_SHARE * each) + 1e-9
    assert max(steps) < 1
    # It is not too slow either: after a few steps it takes as many tokens as fit, or whole chunks.
    assert min(steps[5:-1], default=GOAL_SECONDS) >= min(GOAL_SECONDS - each, decode + CHUNK * each) - 1e-9


def test_tokens_become_dearer_as_the_context_grows():
    pace = Pace()
    steps = process(pace, 16000, decode=0.05, each=lambda place: 0.001 * (1 + place / 2000))
    assert max(steps) < 1.2 * GOAL_SECONDS


def test_a_pause_of_the_machine_is_forgotten():
    pace = Pace()
    process(pace, 500, decode=0.05, each=lambda place: 0.002)
    before = pace.chunk(1)
    pace.note(1, before - 1, 60.0)
    assert pace.chunk(1) == 1 + LEAST_SHARE
    process(pace, 4000, decode=0.05, each=lambda place: 0.002)
    assert pace.chunk(1) >= 0.9 * before


def test_nobody_waits_for_a_prompt_alone():
    assert Pace().chunk(0) == CHUNK


def test_running_answers_are_never_held_back():
    pace = Pace()
    pace.note(0, 256, 1000.0)
    assert pace.chunk(40) == 40 + LEAST_SHARE
