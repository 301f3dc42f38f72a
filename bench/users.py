"""Simulate how many users a server can handle, with measured times of passes.

    python bench/passes.py --tokens 1 2 4 8 16 --prompts 32 64 256 --depth 1024 --sampling -o costs.json
    python bench/users.py costs.json [costs.json ...] [--users 1 10 100] [--pause 30]

A user asks, reads the answer to its end, and asks again after a pause. Lengths and pauses are exponentially
distributed. The earlier turns of a conversation are in the KV cache, so a prompt is only the new question. A server
works like `qwen3cpu serve`: a step takes a token of every running answer and as much of the prompts as the server's own
rule (Pace) allows. Users are spread evenly over the machines. With enough machines, 95 of 100 questions get their first
token in time and 95 of 100 answers are fast enough to read along. Prints the least such number of machines, in
Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from qwen3cpu.server.scheduling.pace import Pace

SHARE = 0.95
"""Share of the questions and answers that must be in time."""


class Costs:
    """Seconds of a step, interpolated and extrapolated linearly from the measured numbers of tokens."""

    def __init__(self, measured: dict[str, dict[str, float]]) -> None:
        self._curves = {
            kind: sorted((int(n), seconds) for n, seconds in measured[kind].items()) for kind in ("prompt", "sequences")
        }

    def step(self, running: int, prompt: int) -> float:
        """Seconds of a step with a token of each running answer and `prompt` tokens of prompts."""
        if not prompt:
            return self._seconds("sequences", running)
        heads = self._seconds("sequences", running) - self._seconds("prompt", running) if running else 0.0
        return self._seconds("prompt", running + prompt) + heads

    def _seconds(self, kind: str, n: int) -> float:
        curve = self._curves[kind]
        at = next((index for index, (tokens, _) in enumerate(curve) if tokens >= n), len(curve) - 1)
        (below, fast), (above, slow) = curve[max(at - 1, 0)], curve[max(at, 1)]
        return fast + (slow - fast) * (n - below) / (above - below)


@dataclass
class Question:
    """A request on its way through the server."""

    asked: float
    prompt: int
    answer: int
    written: int = 0
    first: float = 0.0


@dataclass
class Load:
    """The behaviour of the users and the limits of the server."""

    question: float
    answer: float
    pause: float
    parallel: int
    seconds: float


@dataclass
class Outcome:
    """The results for the users of a server."""

    waits: list[float] = field(default_factory=list)
    """Seconds from a question to the first token of its answer."""
    speeds: list[float] = field(default_factory=list)
    """Tokens a second of each answer."""
    busy: float = 0.0
    """Share of the time in which the server computed."""


def simulate(costs: Costs, users: int, load: Load, seed: int) -> Outcome:
    """Run a server for `load.seconds`. Questions that are not finished at the end do not count."""
    rng = random.Random(seed)
    pace, outcome = Pace(), Outcome()
    coming = sorted(rng.uniform(0, load.pause) for _ in range(users))
    waiting: deque[Question] = deque()
    running: list[Question] = []
    now = busy = 0.0
    while now < load.seconds:
        while coming and coming[0] <= now:
            prompt, answer = (1 + int(rng.expovariate(1 / mean)) for mean in (load.question, load.answer))
            waiting.append(Question(coming.pop(0), prompt, answer))
        while waiting and len(running) < load.parallel:
            running.append(waiting.popleft())
        if not running:
            now = coming[0]
            continue
        writing = [each for each in running if not each.prompt]
        before, taken = len(writing), 0
        left = pace.chunk(before) - before
        for each in running:
            if each.prompt:
                piece = min(each.prompt, left - taken)
                each.prompt -= piece
                taken += piece
                if not each.prompt:
                    writing.append(each)  # a prompt's last piece brings the first token
        seconds = costs.step(before, taken)
        pace.note(before, taken, seconds)
        now += seconds
        busy += seconds
        for each in writing:
            each.written += 1
            if each.written == 1:
                each.first = now
                outcome.waits.append(now - each.asked)
            if each.written == each.answer:
                if each.answer > 1:
                    outcome.speeds.append((each.answer - 1) / (now - each.first))
                running.remove(each)
                coming.append(now + rng.expovariate(1 / load.pause))
        coming.sort()
    outcome.busy = busy / now
    return outcome


def share(values: list[float], part: float) -> float:
    """The quantile of `values` at `part`."""
    return sorted(values)[min(int(part * len(values)), len(values) - 1)]


def enough(outcome: Outcome, wait: float, speed: float) -> bool:
    """Whether users are content."""
    if not outcome.waits or not outcome.speeds:
        return False
    return share(outcome.waits, SHARE) <= wait and share(outcome.speeds, 1 - SHARE) >= speed


def fewest(costs: Costs, users: int, args: argparse.Namespace, load: Load) -> tuple[int, Outcome] | None:
    """The least number of machines, and the results on the fullest one. None when one user is too many."""
    few, many = 0, users
    found = simulate(costs, 1, load, args.seed)
    if not enough(found, args.wait, args.speed):
        return None
    while many - few > 1:
        middle = (few + many) // 2
        outcome = simulate(costs, -(-users // middle), load, args.seed)
        if enough(outcome, args.wait, args.speed):
            many, found = middle, outcome
        else:
            few = middle
    return many, found


def main() -> int:
    """Simulate and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("costs", type=Path, nargs="+", help="files that passes.py -o wrote")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 10, 100], help="default: 1 10 100")
    parser.add_argument("--question", type=float, default=200, help="tokens of a question (default: %(default)s)")
    parser.add_argument("--answer", type=float, default=300, help="tokens of an answer (default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, default=30, help="seconds between answer and question (default: %(default)s)"
    )
    parser.add_argument("--parallel", type=int, default=16, help="answers side by side (default: %(default)s)")
    parser.add_argument(
        "--wait", type=float, default=5, help="seconds to the first token at most (default: %(default)s)"
    )
    parser.add_argument("--speed", type=float, default=5, help="tokens a second at least (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=4, help="simulated hours (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args()
    load = Load(args.question, args.answer, args.pause, args.parallel, 3600 * args.hours)
    print("| users | machines | first token, s: half | 95 of 100 | tok/s of an answer: half | 95 of 100 | busy |")
    print("|" + " ---: |" * 7)
    for path in args.costs:
        measured = json.loads(path.read_text())
        costs = Costs(measured)
        print(f"| **{measured['what']}** |" + " |" * 6)
        for users in args.users:
            found = fewest(costs, users, args, load)
            if found is None:
                print(f"| {users} | too slow for one |" + " |" * 5)
                continue
            machines, outcome = found
            waits, speeds = outcome.waits, outcome.speeds
            cells = [f"{statistics.median(waits):.1f}", f"{share(waits, SHARE):.1f}"]
            cells += [
                f"{statistics.median(speeds):.0f}",
                f"{share(speeds, 1 - SHARE):.0f}",
                f"{100 * outcome.busy:.0f} %",
            ]
            print(f"| {users} | {machines} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
