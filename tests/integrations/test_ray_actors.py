"""The number of actors on the nodes of a cluster, and the CPUs that are kept free for other tasks."""

import pytest

pytest.importorskip("ray.data", reason="pip install 'qwen3cpu[ray]'")

from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data import actors
from qwen3cpu.integrations.ray_data.actors import Node, actor_cpus, actor_places

GB = 1 << 30


@pytest.fixture
def nodes(monkeypatch):
    """Sets the nodes of the cluster: (CPUs, GB) of each."""

    def found(*given):
        monkeypatch.setattr(actors, "alive_nodes", lambda: sorted(Node(cpus, memory * GB) for cpus, memory in given))

    return found


def fitting(node, cpus, memory):
    """The number of actors that fit on a node by their reserved resources."""
    return min(node.cpus // cpus, node.memory // memory)


@pytest.mark.parametrize(
    "given", [[(2, 4)], [(4, 8), (4, 8)], [(32, 128), (64, 256)], [(2, 8), (16, 64)], [(3, 8), (9, 8)]]
)
@pytest.mark.parametrize("cpus", [None, 1, 2, 3, 4, 8])
def test_every_node_keeps_a_cpu_whichever_others_are_lost(nodes, given, cpus):
    nodes(*given)
    if cpus is not None and cpus >= max(count for count, _ in given):
        with pytest.raises(ArgumentError, match=f"cpus: expected a node with {cpus} CPUs"):
            actor_cpus(cpus)
        return
    cpus = actor_cpus(cpus)
    places = actor_places(cpus, 1000, None)
    larger = [Node(count, memory * GB) for count, memory in given if count > cpus]
    counts = [fitting(node, cpus, places.memory) for node in larger]
    assert all(0 < count * cpus < node.cpus for count, node in zip(counts, larger, strict=True))
    assert places.pool.initial_size == sum(counts)


def test_memory_and_the_user_limit_the_actors(nodes):
    nodes((8, 16), (8, 16), (8, 1))
    assert actor_places(3, 6 * GB, None).pool.initial_size == 4
    assert actor_places(3, 6 * GB, 3).pool.initial_size == 3
    pool = actor_places(3, 6 * GB, (5, 9)).pool
    assert (pool.min_size, pool.initial_size, pool.max_size) == (5, 5, 9)
    with pytest.raises(ArgumentError, match="memory: expected a node with more than 3 CPUs"):
        actor_places(3, 17 * GB, None)
    for wrong in (0, (3, 2), "many"):
        with pytest.raises(ArgumentError, match="actors"):
            actor_places(3, GB, wrong)
