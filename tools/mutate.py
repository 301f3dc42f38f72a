"""Measures how many faults the tests find: puts small faults into the sources, one at a time, and runs the tests.

    python tools/mutate.py draw --seed 60 --count 60 --to tools/mutation/faults.json  # draws faults
    python tools/mutate.py map --tests HEAD  # measures the code that each test file reaches
    python tools/mutate.py run --faults tools/mutation/faults.json --tests HEAD --results new.jsonl  # runs the tests
    python tools/mutate.py table --faults tools/mutation/faults.json --old old.jsonl --new new.jsonl  # prints results

The folder `--work` keeps the patched copy of the project, its build, and the map of the code that each test file
reaches. `map` needs the package coverage. `run` continues where it stopped: it skips the faults that are in the file of
results.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import sys
import tempfile
import threading
from pathlib import Path

from mutation.drawing import draw
from mutation.places import Fault, read_faults, write_faults
from mutation.reach import Reach
from mutation.running import read_results, run_faults
from mutation.sources import git
from mutation.table import table
from mutation.testing import HANG_SECONDS, Runner
from mutation.tree import Tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = Path(tempfile.gettempdir()) / "qwen3cpu-mutation"
    parser.add_argument("--work", type=Path, default=work, help="folder of the copy; default: %(default)s")
    commands = parser.add_subparsers(required=True)

    drawing = commands.add_parser("draw", help="draw faults that compile")
    drawing.add_argument("--seed", type=int, required=True)
    drawing.add_argument("--count", type=int, default=60)
    drawing.add_argument("--commit", default="HEAD", help="whose sources; default: %(default)s")
    drawing.add_argument("--to", type=Path, required=True, help="the file of faults to write")
    drawing.set_defaults(run=run_draw)

    mapping = commands.add_parser("map", help="measure the code that each test file reaches, and its time")
    mapping.add_argument("--commit", default="HEAD", help="whose sources; default: %(default)s")
    mapping.add_argument("--tests", required=True, help="whose tests: a commit, or the folder of a working tree")
    mapping.set_defaults(run=run_map)

    running = commands.add_parser("run", help="run the tests on each fault")
    running.add_argument("--faults", type=Path, required=True)
    running.add_argument("--tests", required=True, help="whose tests: a commit, or the folder of a working tree")
    running.add_argument("--sources", help="the commit to put the faults into; default: the one they were drawn from")
    running.add_argument("--results", type=Path, required=True, help="JSON lines, one for each fault")
    running.add_argument("--only", nargs="+", metavar="ID", help="these faults alone")
    running.add_argument("--near", action="store_true", help="only tests that mirror the file; leave what they miss")
    running.add_argument("--files", nargs="+", metavar="TEST", help="these test files alone; leave what they miss")
    running.add_argument("--jobs", type=int, default=1, help="copies that work side by side; default: %(default)s")
    running.add_argument("--hang", type=float, default=HANG_SECONDS, help="seconds of silence; default: %(default)s")
    running.set_defaults(run=run_run)

    printing = commands.add_parser("table", help="print the table of faults in markdown")
    printing.add_argument("--faults", type=Path, required=True)
    printing.add_argument("--old", type=Path, required=True)
    printing.add_argument("--new", type=Path, required=True)
    printing.set_defaults(run=run_table)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends running tests, as Ctrl-C does
    args.run(args)


def run_draw(args: argparse.Namespace) -> None:
    commit = git("rev-parse", "--short=12", args.commit).strip()
    tree = Tree(args.work / "0")
    tree.prepare(commit)
    faults, broken = draw(args.seed, args.count, commit, tree)
    drawn = {"seed": args.seed, "count": args.count, "commit": commit, "did not compile": broken}
    write_faults(args.to, faults, drawn)


def run_map(args: argparse.Namespace) -> None:
    tree = Tree(args.work / "0")
    tree.prepare(git("rev-parse", args.commit).strip(), args.tests)
    Reach(tree, args.work / "reach.json").measure(Runner(tree))


def run_run(args: argparse.Namespace) -> None:
    faults = read_faults(args.faults)
    done = {row["fault"] for row in read_results(args.results)}
    waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
    for fault in faults:
        if fault.id not in done and (args.only is None or fault.id in args.only):
            waiting.put(fault)

    def work(number: int) -> None:
        tree = Tree(args.work / str(number))
        tree.prepare(git("rev-parse", args.sources or faults[0].commit).strip(), args.tests)
        reach = Reach(tree, args.work / "reach.json")
        runner = Runner(tree, hang_seconds=args.hang)
        run_faults(waiting, tree, reach, runner, args.results, near=args.near, files=args.files)

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(1, args.jobs)]
    for worker in workers:
        worker.start()
    work(0)
    for worker in workers:
        worker.join()


def run_table(args: argparse.Namespace) -> None:
    without_effect = json.loads(
        (Path(__file__).parent / "mutation" / "without_effect.json").read_text(encoding="utf-8")
    )
    print(table(read_faults(args.faults), read_results(args.old), read_results(args.new), without_effect))


if __name__ == "__main__":
    main()
