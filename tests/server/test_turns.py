"""Turns for the processor: one step at a time, in the order of the models' requests."""

import itertools
import threading

import pytest

from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.server.scheduling.pace import FIRST_SHARE, Pace
from qwen3cpu.server.scheduling.turns import Turns


def waiting(turns, count):
    """Wait until this many threads wait in the line."""
    while len(turns._line) < count:
        pass


def test_who_asks_first_has_the_first_turn():
    turns = Turns()
    order = []

    def step(name):
        with turns.turn():
            order.append(name)

    threads = [threading.Thread(target=step, args=[name]) for name in range(8)]
    with turns.turn():
        for place, thread in enumerate(threads):
            thread.start()
            waiting(turns, place + 1)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_a_long_prompt_delays_others_by_one_step_each():
    """Two models make steps as fast as possible. One never gets two turns while the other waits."""
    turns = Turns()
    steps = []
    start = threading.Barrier(2)

    def model(name):
        start.wait()
        for _ in range(200):
            with turns.turn():
                steps.append((name, len(turns._line)))

    threads = [threading.Thread(target=model, args=[name]) for name in "AB"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(steps) == 400
    for (name, others), (following, _) in itertools.pairwise(steps):
        assert not others or following != name


def test_a_turn_tells_whether_others_had_one():
    turns = Turns()
    seen = []

    def other():
        with turns.turn() as shared:
            seen.append(shared)

    for _ in range(2):
        with turns.turn() as shared:
            seen.append(shared)
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    with turns.turn() as shared:
        seen.append(shared)
    assert seen == [False, False, True, True]


def test_an_error_ends_a_turn():
    turns = Turns()
    with pytest.raises(ValueError, match="wrong"), turns.turn():
        raise ValueError("wrong")
    with turns.turn():
        pass


def test_prompts_go_in_short_steps_while_others_wait():
    pace = Pace()
    assert pace.chunk(0) == CHUNK
    assert pace.chunk(0, shared=True) == FIRST_SHARE
