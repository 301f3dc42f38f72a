"""Measure two installed versions of qwen3cpu in turns: python bench/versions.py OLD_PYTHON NEW_PYTHON

Each argument is the Python of an environment in which one version is installed. Both hold the same model in processes
of their own. Each turn runs every case on both, one right after the other and in changing order, so changes of the
machine's speed affect both. Runs are short and turns are many, because noise of other work comes in waves. The ratio of
each turn is new / old of tokens per second, and old / new of seconds. Above 1 the new version is faster.

The start is measured too: the import, and from the import to the first token of the embedded model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from qwen3cpu.bench.cases import Case
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import Worker
from qwen3cpu.loading.random_weights import SIZES
from qwen3cpu.system.progress_bar import Progress

START = """
from time import perf_counter
start = perf_counter()
import qwen3cpu
print(perf_counter() - start)
model = qwen3cpu.load("tiny", threads=1)
next(model.stream("What is 1 + 1?", temperature=0, thinking=False))
print(perf_counter() - start)
"""
WORKER = "from qwen3cpu.bench.worker import main; main()"


def measure(pythons: dict[str, str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Tokens per second of every case on both versions, turn by turn."""
    cases = [
        case
        for quant in args.quant
        for case in (
            Case(args.n_prompt, 0, depth=0, batch=1, threads=args.threads, quant=quant, kv="f16"),
            Case(0, args.n_gen, depth=0, batch=1, threads=args.threads, quant=quant, kv="f16"),
        )
    ]
    found: dict[Case, dict[str, list[float]]] = {case: {name: [] for name in pythons} for case in cases}
    with ExitStack() as stack, Progress("Measuring", args.turns * len(cases), unit="turns") as progress:
        workers = {}
        for quant in args.quant:
            for name, python in pythons.items():
                worker = stack.enter_context(Worker(f"{name}, {quant}", (python, "-c", WORKER)))
                worker.ask("open", model=None, synthetic=args.synthetic, quant=quant, kv="f16", threads=args.threads)
                workers[name, quant] = worker
        for turn in range(args.turns + 1):
            for case in cases:
                for name in list(pythons) if turn % 2 else reversed(pythons):
                    run = workers[name, case.quant].ask("run", case=asdict(case))
                    if turn:  # the first one warms up
                        found[case][name].append(run["tokens"] / run["seconds"])
                if turn:
                    progress.advance(1)
    return [{"case": case.label, "quant": case.quant, **rates} for case, rates in found.items()]


def measure_start(pythons: dict[str, str], turns: int) -> list[dict[str, Any]]:
    """Seconds of the import, and until the first token of the embedded model, each in a process of its own."""
    found: dict[str, dict[str, list[float]]] = {
        case: {name: [] for name in pythons} for case in ("import", "first token")
    }
    with Progress("Starting", turns, unit="turns") as progress:
        for turn in range(turns + 1):
            for name in list(pythons) if turn % 2 else reversed(pythons):
                done = subprocess.run([pythons[name], "-c", START], capture_output=True, text=True, check=True)
                if turn:
                    for case, seconds in zip(found, done.stdout.split(), strict=True):
                        found[case][name].append(1 / float(seconds))
            progress.advance(1 if turn else 0)
    return [{"case": case, "quant": "start", **rates} for case, rates in found.items()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="Python of the environment with the old version")
    parser.add_argument("new", help="Python of the environment with the new version")
    parser.add_argument("--synthetic", choices=tuple(SIZES), default="0.6B", metavar="SIZE")
    parser.add_argument("--quant", nargs="+", default=["q4", "q8"])
    parser.add_argument("-p", "--n-prompt", type=int, default=128)
    parser.add_argument("-n", "--n-gen", type=int, default=8)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    pythons = {"old": args.old, "new": args.new}
    rows = measure(pythons, args) + measure_start(pythons, args.turns)
    machine = Machine.here()
    if args.json:
        print(json.dumps({"machine": asdict(machine), "rows": rows}, indent=1))
        return
    print(f"{machine.cpu}, {args.threads} threads, {args.synthetic}, {args.turns} turns; tokens (starts) per second")
    for row in rows:
        ratios = sorted(new / old for old, new in zip(row["old"], row["new"], strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{row['quant']} {row['case']}: old {statistics.median(row['old']):.1f}, "
            f"new {statistics.median(row['new']):.1f}, ratio {middle:.3f} ({low:.3f} to {high:.3f})"
        )


if __name__ == "__main__":
    main()
