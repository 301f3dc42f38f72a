"""Damages inputs and reports faults of the package: python tests/fuzz/run.py --help.

    python tests/fuzz/run.py bodies --cases 100000       # requests to a server
    python tests/fuzz/run.py files --cases 20000         # every kind of file, in turn
    python tests/fuzz/run.py schemas --cases 20000
    python tests/fuzz/run.py calls --cases 20000         # tool calls in answers
    python tests/fuzz/run.py packed --first 1234 --cases 1   # repeats one case

The same seed and case number damage an input in the same way. Exit code 1: a 5xx, a foreign exception, a signal, a
hang, or a case that took more than two seconds of CPU time.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from guarded import Outcome, outcomes
from targets import FILE_TARGETS, MOST_CPU_SECONDS, TARGETS

from qwen3cpu.system.progress_bar import Progress

SHOWN = 40


def main() -> int:
    """Run cases; returns the exit code."""
    parser = argparse.ArgumentParser(description="Damage inputs and report what the package should not have done.")
    parser.add_argument("target", choices=("files", *TARGETS))
    parser.add_argument("--cases", type=int, default=1000, help="in all (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes side by side (%(default)s)")
    parser.add_argument("--no-clock", action="store_true", help="let a case take as long as it likes")
    args = parser.parse_args()
    targets = FILE_TARGETS if args.target == "files" else (args.target,)
    share = -(-args.cases // len(targets))
    jobs = [
        (target, range(args.first + part * share // args.workers, args.first + (part + 1) * share // args.workers))
        for target in targets
        for part in range(args.workers)
    ]
    wrong: list[tuple[str, Outcome]] = []
    counts: Counter[str] = Counter()
    lock = Lock()
    with Progress("Fuzzing", share * len(targets), unit="cases") as progress:

        def run(target: str, cases: range) -> None:
            for outcome in outcomes(target, args.seed, cases):
                with lock:
                    slow = outcome.cpu_seconds > MOST_CPU_SECONDS and not args.no_clock
                    counts["slow" if slow and not outcome.wrong else outcome.kind] += 1
                    if outcome.wrong or slow:
                        wrong.append((target, outcome))
                    progress.advance(1)

        with ThreadPoolExecutor(args.workers) as pool:
            for job in [pool.submit(run, target, cases) for target, cases in jobs]:
                job.result()
    for target, outcome in wrong[:SHOWN]:
        print(f"{target} case {outcome.case}: {outcome.kind}, {outcome.cpu_seconds:.1f} s: {outcome.detail}")
    print(f"{args.target}, seed {args.seed}: {sum(counts.values())} cases: {dict(counts)}; {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
