"""Simulate a job of qwen3cpu.integrations.ray_data on 1, 10, 100 and 1,000 nodes, with measured costs.

    python bench/cluster.py [--rows 1000000] [--nodes 1 10 100 1000] [--block-rows 256] [--speed 16] [--json]

A node has one actor, which computes `--speed` times as fast as the thread that bench/cluster_costs.py measured. It
fetches the packed weights from a store that all nodes share, loads them, and answers one block after the other while
one more block waits. The driver hands out blocks one by one. The loss of a node is noticed after `--notice` seconds.
Its blocks are computed again elsewhere, and another node replaces it after `--replace` seconds. Every second of a node
from the start of the job to its end is counted, either as computing or under the reason why its actor did not compute.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

COSTS = Path(__file__).parent / "measured" / "cluster.json"
SPREAD = 1.0
"""Standard deviation of a row's work, divided by its mean."""
COMPUTING = 0.9
"""Share of the time from which on a job is bound by computing."""
IN_FLIGHT = 2
"""Blocks of an actor: the one that it computes and the next."""


@dataclass(frozen=True)
class Plan:
    """One run. Bandwidths are in bytes a second, times in seconds."""

    rows: int
    nodes: int
    block_rows: int
    speed: float
    node_bandwidth: float
    store_bandwidth: float
    lost_after: float
    notice: float
    replace: float


@dataclass
class Actor:
    """An actor. Its times are seconds that it spent; `free` is the time at which it runs out of work."""

    ready: float
    free: float
    queue: deque[tuple[float, int]] = field(default_factory=deque)
    """(time of arrival, number) of each of its blocks."""
    working: tuple[float, int] | None = None
    """(time of its start, number) of the block that it computes."""
    alive: bool = True
    computing: float = 0.0
    waiting: float = 0.0
    wasted: float = 0.0


class Job:
    """A job with the costs of one measurement.

    Args:
        plan: the run.
        costs: figures of bench/cluster_costs.py.
        seed: of the random numbers.
    """

    def __init__(self, plan: Plan, costs: dict[str, Any], seed: int = 0) -> None:
        self.plan = plan
        self._costs = costs
        self._chance = np.random.default_rng(seed)
        self._blocks = deque(range(math.ceil(plan.rows / plan.block_rows)))
        self._left = len(self._blocks)
        self._driver = 0.0
        self._events: list[tuple[float, int, str, Any]] = []
        self._order = 0
        self._actors: list[Actor] = []
        self._work = self._block_work()

    def run(self) -> dict[str, float]:
        """Seconds of the job, rows a second, and the share of each kind of time in that of all nodes."""
        for number in range(self.plan.nodes):
            self._start_actor(0.0, number)
        now = 0.0
        while self._left:
            now, _, kind, about = heapq.heappop(self._events)
            getattr(self, f"_{kind}")(now, *about)
        total = now * self.plan.nodes
        computing = sum(actor.computing for actor in self._actors)
        wasted = sum(actor.wasted for actor in self._actors)
        waiting = sum(actor.waiting for actor in self._actors)
        end = sum(max(0.0, now - max(actor.free, actor.ready)) for actor in self._actors if actor.alive)
        shares = {"computing": computing, "again": wasted, "driver": waiting, "end": end}
        shares = {name: seconds / total for name, seconds in shares.items()}
        return {
            "seconds": now,
            "rows_a_second": self.plan.rows / now,
            **shares,
            "start": 1.0 - sum(shares.values()),
        }

    def start_seconds(self) -> float:
        """Seconds from the order for an actor until it has its weights, when all nodes start at once."""
        plan, costs = self.plan, self._costs
        bandwidth = min(plan.node_bandwidth, plan.store_bandwidth / plan.nodes)
        return costs["weight_bytes"] / bandwidth + costs["actor_seconds"]

    def _block_work(self) -> np.ndarray:
        """Seconds of each block on one node."""
        seconds = row_seconds(self._costs, self.plan.block_rows) / self.plan.speed
        shape = self.plan.block_rows / SPREAD**2
        work = self._chance.gamma(shape, seconds * self.plan.block_rows / shape, len(self._blocks))
        return work + self._costs["part_seconds_of_a_row"] * self.plan.block_rows

    def _at(self, time: float, kind: str, *about: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (time, self._order, kind, about))

    # Events

    def _start_actor(self, now: float, place: int) -> None:
        """Order an actor. The head makes one after the other."""
        ready = now + (place + 1) * self._costs["head_seconds_of_an_actor"] + self.start_seconds()
        actor = Actor(ready, ready)
        self._actors.append(actor)
        self._at(ready, "ready", actor)
        if self.plan.lost_after < math.inf:
            self._at(now + self._chance.exponential(self.plan.lost_after), "lost", actor)

    def _ready(self, now: float, actor: Actor) -> None:
        for _ in range(IN_FLIGHT):
            self._hand_out(now, actor)

    def _hand_out(self, now: float, actor: Actor) -> None:
        """Give an actor a block as soon as the driver is free."""
        if not self._blocks or not actor.alive:
            return
        self._driver = max(self._driver, now) + self._costs["driver_seconds_of_a_block"]
        actor.queue.append((self._driver, self._blocks.popleft()))
        self._at(self._driver, "begin", actor)

    def _begin(self, now: float, actor: Actor) -> None:
        """Let an actor work on the next block that has arrived."""
        if actor.working is None and actor.alive and actor.queue and actor.queue[0][0] <= now:
            _, block = actor.queue.popleft()
            actor.waiting += now - actor.free
            actor.working = (now, block)
            self._at(now + self._work[block], "done", actor, block)

    def _done(self, now: float, actor: Actor, block: int) -> None:
        if actor.working is None or actor.working[1] != block:
            return  # the actor was lost
        actor.computing += now - actor.working[0]
        actor.working, actor.free = None, now
        self._left -= 1
        self._begin(now, actor)
        self._hand_out(now, actor)

    def _lost(self, now: float, actor: Actor) -> None:
        actor.alive = False
        again = [block for _, block in actor.queue]
        if actor.working is not None:
            again.append(actor.working[1])
            actor.wasted += now - actor.working[0]
            actor.working = None
        self._at(now + self.plan.notice, "noticed", again)

    def _noticed(self, now: float, again: list[int]) -> None:
        self._blocks.extendleft(again)
        for actor in self._actors:
            if actor.alive and actor.ready <= now and not actor.queue:
                self._hand_out(now, actor)
        self._start_actor(now + self.plan.replace, 0)


def row_seconds(costs: dict[str, Any], block_rows: int) -> float:
    """Seconds of the measured thread for a row in a block of `block_rows` rows, interpolated in logarithms."""
    sizes = sorted(costs["block_seconds"], key=int)
    rows = [costs["block_seconds"][size] / int(size) for size in sizes]
    return float(np.interp(math.log(block_rows), [math.log(int(size)) for size in sizes], rows))


def plans(options: argparse.Namespace) -> list[Plan]:
    """One for each number of nodes and each size of blocks."""
    giga = 1e9 / 8
    return [
        Plan(
            rows=options.rows,
            nodes=nodes,
            block_rows=block_rows,
            speed=options.speed,
            node_bandwidth=options.node_gbit * giga,
            store_bandwidth=options.store_gbit * giga,
            lost_after=options.lost_after * 86400 if options.lost_after else math.inf,
            notice=options.notice,
            replace=options.replace,
        )
        for block_rows in options.block_rows
        for nodes in options.nodes
    ]


def as_table(found: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = [
        "| rows of a block | nodes | minutes | rows/s | computing | start | driver | end | done again | bound by |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        shares = [f"{100 * each[name]:.1f} %" for name in ("computing", "start", "driver", "end", "again")]
        figures = [each["block_rows"], each["nodes"], f"{each['seconds'] / 60:.1f}", f"{each['rows_a_second']:.0f}"]
        lines.append(f"| {' | '.join(map(str, [*figures, *shares, bound(each)]))} |")
    return "\n".join(lines)


def bound(found: dict[str, Any]) -> str:
    """What bounds a job: computing, if it takes nine tenths of the time; else the largest part of the rest."""
    if found["computing"] >= COMPUTING:
        return "computing"
    return max(("start", "driver", "end", "again"), key=lambda name: found[name])


def main() -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--block-rows", type=int, nargs="+", default=[256])
    parser.add_argument("--speed", type=float, default=16.0, help="of a node, in multiples of the measured thread")
    parser.add_argument("--node-gbit", type=float, default=10.0, help="of a node's network")
    parser.add_argument("--store-gbit", type=float, default=100.0, help="of the store that has the weights")
    parser.add_argument("--lost-after", type=float, default=30.0, help="days until a node is lost, mean; 0: never")
    parser.add_argument("--notice", type=float, default=30.0, help="seconds until a loss is noticed")
    parser.add_argument("--replace", type=float, default=300.0, help="seconds until another node replaces it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    costs = json.loads(options.costs.read_text())
    found = [{"block_rows": plan.block_rows, "nodes": plan.nodes, **Job(plan, costs).run()} for plan in plans(options)]
    print(json.dumps(found) if options.json else as_table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
