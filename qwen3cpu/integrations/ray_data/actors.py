"""The actors that hold the model, one or several on a node, and their CPUs and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from qwen3cpu.arguments import whole_number
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.answers import AnswerRows
from qwen3cpu.integrations.ray_data.vectors import VectorRows
from qwen3cpu.integrations.ray_data.work import Work
from qwen3cpu.model import Model


@dataclass(frozen=True)
class Examined:
    """The result of `examine`. about: all that the rows depend on. memory: bytes that an actor takes."""

    about: Mapping[str, Any]
    memory: int


def examine(work: Work) -> Examined:
    """Load the model on one node, so that a mistake raises an error before the job starts.

    Raises:
        Qwen3CpuError: the model cannot be loaded, or an option is not allowed.
    """
    task = ray.remote(num_cpus=work.threads, max_retries=-1)(_examined)
    try:
        found: Examined = ray.get(task.remote(work))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return found


def _examined(work: Work) -> Examined:
    model = work.loaded()
    return Examined(work.about(model), work.memory(model))


class RowActor:
    """Adds the columns of answers or vectors to tables.

    Args:
        work: the work on each row.
        about: all that the rows depend on. Another model on this node is refused.
    """

    def __init__(self, work: Work, about: Mapping[str, Any]) -> None:
        model = work.loaded()
        _check_same(model, work.about(model), about)
        self._rows = AnswerRows(work, model, about) if work.task == "generation" else VectorRows(work, model)

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the columns of answers."""
        for name, column in self._rows.columns(table).items():
            if name in table.column_names:
                raise ArgumentError(f"output: expected names of new columns, found {name!r}, which the rows have")
            table = table.append_column(name, column)
        return table


def _check_same(model: Model, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in expected:
        if found.get(name) != expected[name]:
            raise ArgumentError(
                f"{model.source} on node {ray.get_runtime_context().get_node_id()}: expected the {name} that another "
                f"node has: {str(expected[name])[:80]}, found {str(found.get(name))[:80]}"
            )


class Node(NamedTuple):
    """The CPUs of a node, and its memory in bytes."""

    cpus: int
    memory: int

    def actors(self, cpus: int) -> int:
        """The number of actors with this many CPUs, if one CPU is left for the tasks that read and write rows."""
        return (self.cpus - 1) // cpus

    def share(self, cpus: int) -> int:
        """Bytes that an actor must reserve so that not one more fits. 0 if its CPUs limit the number already."""
        return 0 if self.cpus % cpus else self.memory // (self.actors(cpus) + 1) + 1


def alive_nodes() -> list[Node]:
    """The nodes that have CPUs, the smallest first."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sorted(Node(int(each["CPU"]), int(each.get("memory", 0))) for each in resources if each.get("CPU", 0) >= 1)


def actor_cpus(cpus: int | None) -> int:
    """CPUs of an actor: the given number, or those of the smallest node minus one.

    Raises:
        ArgumentError: no node has this many and one more.
    """
    counts = [node.cpus for node in alive_nodes()]
    chosen = max(1, min(counts, default=0) - 1) if cpus is None else whole_number("cpus", cpus, 1)
    if chosen >= max(counts, default=0):
        raise ArgumentError(
            f"cpus: expected a node with {chosen} CPUs for an actor and one that reads and writes rows, found nodes "
            f"with {', '.join(map(str, counts)) or 'none'}"
        )
    return chosen


@dataclass(frozen=True)
class Places:
    """The resources of actors. pool: their pool. memory: bytes that each reserves."""

    pool: ActorPoolStrategy
    memory: int


def actor_places(cpus: int, memory: int, actors: object) -> Places:
    """A pool of actors that starts with as many as there is room for, and follows nodes that are added or lost.

    Every node keeps a CPU for the tasks that read and write rows. Ray lets actors wait for these tasks, and never takes
    a CPU from an actor. So actors that fill all remaining nodes after others are lost would wait for ever. Where whole
    CPUs would still let one more actor fit, each actor reserves so much memory that it does not.

    Args:
        cpus: CPUs of an actor.
        memory: bytes that an actor needs.
        actors: the largest number, or (least, most), or None for at least 1 and no limit.

    Raises:
        ArgumentError: no node has room for an actor, or a number is not allowed.
    """
    least, most = actors if isinstance(actors, (tuple, list)) and len(actors) == 2 else (1, actors)
    least = whole_number("actors", least, 1)
    most = None if most is None else whole_number("actors", most, least)
    nodes = [node for node in alive_nodes() if node.cpus > cpus]
    reserved = max([memory, *(node.share(cpus) for node in nodes)])
    room = sum(min(node.actors(cpus), node.memory // reserved) for node in nodes)
    if not room:
        found = max((node.memory for node in nodes), default=0)
        raise ArgumentError(
            f"memory: expected a node with more than {cpus} CPUs and {memory} bytes for an actor, found {found} bytes "
            "at most. A shorter context (load={'context': 8192}) or a smaller kv_bytes needs less"
        )
    initial = max(least, room if most is None else min(room, most))
    return Places(ActorPoolStrategy(min_size=least, max_size=most, initial_size=initial), reserved)
