"""The simulation of a cluster, for cases with known results."""

import math
from dataclasses import replace

import pytest
from support.scripts import script_module

COSTS = {
    "weight_bytes": 1e9,
    "block_seconds": {"10": 10.0, "100": 100.0},
    "actor_seconds": 2.0,
    "head_seconds_of_an_actor": 0.0,
    "driver_seconds_of_a_block": 0.0,
    "part_seconds_of_a_row": 0.0,
}
SHARES = ("computing", "start", "driver", "end", "again")


@pytest.fixture(scope="module")
def cluster():
    return script_module("bench/cluster.py")


@pytest.fixture
def run(cluster, monkeypatch):
    """Simulate with rows that all take one second. changes: of the plan, and of the costs."""
    monkeypatch.setattr(cluster, "SPREAD", 1e-6)
    plan = cluster.Plan(
        rows=10_000,
        nodes=10,
        block_rows=10,
        speed=1.0,
        node_bandwidth=math.inf,
        store_bandwidth=math.inf,
        lost_after=math.inf,
        notice=30.0,
        replace=60.0,
    )

    def simulate(costs=(), **changes):
        found = cluster.Job(replace(plan, **changes), {**COSTS, "actor_seconds": 0.0, **dict(costs)}).run()
        assert sum(found[name] for name in SHARES) == pytest.approx(1)
        assert min(found[name] for name in SHARES) > -1e-9
        return found

    return simulate


def test_without_other_costs_it_is_the_work_by_the_nodes(run):
    assert run()["seconds"] == pytest.approx(1000)
    assert run(speed=4.0)["seconds"] == pytest.approx(250)
    assert run(nodes=1)["computing"] == pytest.approx(1)
    assert run(costs={"part_seconds_of_a_row": 0.5})["seconds"] == pytest.approx(1500)


def test_weights_come_over_the_network_of_the_store_or_of_the_node(run):
    assert run(store_bandwidth=1e9)["seconds"] == pytest.approx(1010)
    assert run(node_bandwidth=1e7)["seconds"] == pytest.approx(1100)
    assert run(node_bandwidth=1e7)["start"] == pytest.approx(100 / 1100)
    assert run(costs={"actor_seconds": 2.0})["seconds"] == pytest.approx(1002)
    assert run(costs={"head_seconds_of_an_actor": 1.0})["seconds"] > 1005


def test_a_slow_driver_bounds_the_job(run):
    found = run(costs={"driver_seconds_of_a_block": 2.0})
    assert found["seconds"] == pytest.approx(1000 * 2.0, rel=0.02)
    assert found["driver"] == pytest.approx(0.5, rel=0.05)


def test_few_large_blocks_end_at_different_times(run):
    found = run(block_rows=100, rows=1100)  # eleven blocks on ten nodes
    assert found["seconds"] == pytest.approx(200)
    assert found["end"] == pytest.approx(9 * 100 / 2000)


def test_lost_nodes_cost_time_and_no_rows(run):
    found = run(lost_after=500.0)
    assert found["again"] > 0
    assert found["seconds"] > 1000
    assert found["computing"] * found["seconds"] * 10 == pytest.approx(10_000)


def test_rows_between_measured_sizes(cluster):
    costs = {"block_seconds": {"10": 20.0, "1000": 1000.0}}
    assert cluster.row_seconds(costs, 100) == pytest.approx(1.5)
    assert cluster.row_seconds(costs, 1) == 2.0
    assert cluster.row_seconds(costs, 5000) == 1.0


def test_the_measured_costs_make_a_table(cluster, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cluster", "--rows", "10000", "--nodes", "1", "10"])
    assert cluster.main() == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
