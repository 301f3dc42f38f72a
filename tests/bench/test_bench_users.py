"""The simulation of a server's users, compared with sums by hand."""

import argparse
import json

import pytest
from support.scripts import script_module

users = script_module("bench/users.py")
Costs, simulate, fewest = users.Costs, users.simulate, users.fewest
FLAT = {"prompt": {"1": 0.5, "2": 0.5}, "sequences": {"1": 0.5, "2": 0.5}}
"""Every step takes half a second."""
STEEP = {"prompt": {"1": 0.1, "101": 10.1}, "sequences": {"1": 0.1, "101": 10.1}}
"""Every token takes a tenth of a second."""
LOAD = users.Load(question=20, answer=50, pause=10, parallel=4, seconds=20_000)


def test_times_between_and_beyond_the_measured_ones() -> None:
    costs = Costs({"prompt": {"1": 1.0, "4": 2.5, "16": 3.0}, "sequences": {"1": 1.5, "4": 4.0}})
    assert costs.step(1, 0) == 1.5
    assert costs.step(2, 0) == pytest.approx(1.5 + 2.5 / 3)
    assert costs.step(0, 10) == pytest.approx(2.75)
    assert costs.step(0, 28) == pytest.approx(3.5)
    # The time of a pass over prompt tokens, plus the additional time for one answer's logits.
    assert costs.step(1, 3) == pytest.approx(2.5 + 0.5)


def test_one_user_of_a_server_that_does_all_in_half_a_second() -> None:
    outcome = simulate(Costs(FLAT), 1, LOAD, seed=1)
    # A question of up to 256 tokens is one step.
    assert outcome.waits == pytest.approx([0.5] * len(outcome.waits))
    assert outcome.speeds == pytest.approx([2.0] * len(outcome.speeds))
    # A round has 10 s of pause and 25 s of writing.
    assert outcome.busy == pytest.approx(25 / 35, abs=0.05)


def test_users_beyond_the_places_wait() -> None:
    outcome = simulate(Costs(FLAT), 40, LOAD, seed=1)
    # 4 places, and an answer of about 50 tokens takes 25 s: 36 others wait for a place, except those that pause.
    assert outcome.busy == pytest.approx(1.0, abs=0.01)
    assert sorted(outcome.waits)[len(outcome.waits) // 2] == pytest.approx(36 / 4 * 25 - 10, rel=0.2)


def test_the_number_of_machines_is_the_least_that_is_enough() -> None:
    args = argparse.Namespace(seed=3, wait=15, speed=3)
    found = fewest(Costs(STEEP), 30, args, LOAD)
    assert found is not None
    machines, outcome = found
    assert 1 < machines < 30
    assert users.enough(outcome, 15, 3)
    assert not users.enough(simulate(Costs(STEEP), -(-30 // (machines - 1)), LOAD, 3), 15, 3)
    args.speed = 11
    assert fewest(Costs(STEEP), 30, args, LOAD) is None, "no machine writes 11 tokens a second"


def test_a_table_is_printed(tmp_path, monkeypatch, capsys) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"what": "a machine", **FLAT}))
    monkeypatch.setattr("sys.argv", ["users.py", str(file), "--users", "1", "--question", "20", "--speed", "1"])
    assert users.main() == 0
    assert "| 1 | 1 | 0.5 | 0.5 | 2 | 2 |" in capsys.readouterr().out
