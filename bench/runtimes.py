"""Measure qwen3cpu in one process with the OpenMP and BLAS runtimes of numpy, torch, scikit-learn and scipy.

    python bench/runtimes.py [--model tiny] [--threads 2] [--rounds 7] [--tokens 32] [--beside numpy] [--by-turns]
        [--late] [--walk] [--json]

Every measurement is a new process that imports qwen3cpu and another library, in either order, and uses both. Then each
of them works for a while. It is compared with a process of the same round that has imported only one of the two. Rounds
are interleaved, so that a busy machine affects all alike. Prints medians over the rounds. Libraries that are not
installed are left out.

With `--by-turns` they work in turns, so that a runtime whose threads wait busily for more work takes the cores from the
other. With `--late` the second library is imported after the first has worked. With `--walk` a plain walk through
memory replaces qwen3cpu, to show how much cold caches cost the other library in turns.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

OTHERS = ("numpy", "torch", "sklearn", "scipy")
MODULES = {"sklearn": "sklearn.cluster", "scipy": "scipy.linalg.blas", "walk": "numpy"}
"""Modules that are imported, where they are not named like the library."""
WALKED_BYTES = 90_000_000
"""Bytes that decoding a token with a 135M model in q4 reads."""
TURNS = 6
"""Turns of a library in a process; the first is not counted."""
LIMIT_SECONDS = 600
"""A process that takes longer is reported as a deadlock."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="whatever load takes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="processes of every kind (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="decoded in a turn (default: %(default)s)")
    parser.add_argument("--beside", choices=OTHERS, action="append", help="only this library; may be repeated")
    parser.add_argument("--by-turns", action="store_true", help="let the two take turns")
    parser.add_argument("--late", action="store_true", help="import the second library after the first has worked")
    parser.add_argument("--walk", action="store_true", help="walk through memory instead of using qwen3cpu")
    parser.add_argument("--json", action="store_true", help="print a JSON record")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(measure(args)))
        return
    record = compare(args, [name for name in args.beside or OTHERS if importlib.util.find_spec(name)])
    print(json.dumps(record) if args.json else report(record))


def decoder(model: str, threads: int, tokens: int) -> Callable[[], object]:
    """A turn of qwen3cpu: `tokens` tokens, one pass each."""
    import qwen3cpu

    loaded = qwen3cpu.load(model, threads=threads)
    return lambda: loaded.generate("Tell me something.", thinking=False, max_tokens=tokens, ignore_eos=True, seed=1)


def walker(threads: int) -> Callable[[], object]:
    """A turn without a library: tens of milliseconds of reading memory."""
    import numpy as np

    parts = np.array_split(np.ones(WALKED_BYTES // 8, np.uint64), threads)
    pool = ThreadPoolExecutor(threads)
    return lambda: [list(pool.map(np.bitwise_or.reduce, parts)) for _ in range(40)]


def worker(name: str, threads: int) -> Callable[[], object]:
    """A turn of another library, with its own threads: tens of milliseconds of work.

    Products are written to the same memory. New memory for each would measure the allocator, whose pages depend on
    earlier use.
    """
    module = importlib.import_module(MODULES.get(name, name))
    if name == "torch":
        module.set_num_threads(threads)
        matrix, product = module.ones(768, 768), module.empty(768, 768)
        return lambda: [module.mm(matrix, matrix, out=product) for _ in range(8)]
    import numpy as np

    square, result = (np.ones((768, 768), np.float32, order="F") for _ in range(2))
    if name == "numpy":
        return lambda: [np.matmul(square, square, out=result) for _ in range(8)]
    if name == "scipy":
        return lambda: [module.sgemm(1.0, square, square, c=result, overwrite_c=True) for _ in range(8)]
    points = np.random.default_rng(0).standard_normal((20_000, 16))
    return lambda: module.KMeans(8, n_init=1, max_iter=60, tol=0, random_state=0).fit(points)


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a turn for each of the libraries, imported and first used in this order."""
    names = args.child.split(",")
    for name in names[:1] if args.late else names:
        importlib.import_module(MODULES.get(name, name))
    turns: dict[str, Callable[[], object]] = {}
    for name in names:
        if name == "qwen3cpu":
            turns[name] = decoder(args.model, args.threads, args.tokens)
        else:
            turns[name] = walker(args.threads) if name == "walk" else worker(name, args.threads)
        turns[name]()
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    order = [*turns] * TURNS if args.by_turns else [name for name in turns for _ in range(TURNS)]
    for name in order:
        start = perf_counter()
        turns[name]()
        seconds[name].append(perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def compare(args: argparse.Namespace, others: list[str]) -> dict[str, Any]:
    """A record for `report`: medians over all rounds, of seconds and of the ratios to the library alone."""
    ours = "walk" if args.walk else "qwen3cpu"
    orders = [ours, *others]
    for name in others:
        orders += [f"{ours},{name}", f"{name},{ours}"]
    rounds = [{order: child(order, args) for order in orders} for _ in range(args.rounds)]
    rows = [
        {
            "order": order,
            "library": name,
            "seconds": statistics.median(one[order][name] for one in rounds),
            "alone": statistics.median(one[name][name] for one in rounds),
            "ratio": statistics.median(one[order][name] / one[name][name] for one in rounds),
        }
        for order in orders
        if "," in order
        for name in order.split(",")
    ]
    return {"model": args.model, "threads": args.threads, "rounds": args.rounds, "rows": rows}


def child(order: str, args: argparse.Namespace) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--child", order, "--model", args.model]
    command += ["--threads", str(args.threads), "--tokens", str(args.tokens)]
    command += [flag for flag, given in (("--by-turns", args.by_turns), ("--late", args.late)) if given]
    threads = {"OMP_NUM_THREADS": str(args.threads), "OPENBLAS_NUM_THREADS": str(args.threads)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | threads, timeout=LIMIT_SECONDS, check=True
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{order}: no end after {LIMIT_SECONDS} s, a deadlock") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{order}: failed\n{error.stderr}") from None
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(record: dict[str, Any]) -> str:
    """A Markdown table: a turn of each library with the other, and alone."""
    lines = ["| imported, in this order | library | ms a turn | alone | ratio |", "|---|---|---:|---:|---:|"]
    lines += [
        f"| {row['order'].replace(',', ', ')} | {row['library']} | {row['seconds'] * 1e3:.1f} "
        f"| {row['alone'] * 1e3:.1f} | {row['ratio']:.2f} |"
        for row in record["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
