"""Time decoding several sequences with the same beginning, with shared blocks of the KV cache and with own copies.

    python bench/shared_prefix.py [--sequences 8] [--depth 4096] [--kv f16 q8] [--python BEFORE=PYTHON]

"shared" sequences are forks of one sequence and share its blocks; "own" sequences have copies of these blocks. Each KV
format has a process of its own, and so has each further version of qwen3cpu that `--python` names. All take turns. The
depth is filled with copies of one block of 64 tokens, because the contents of keys and values do not change the time.
Only the forward passes are timed, which compute the 20 largest logits of each token. Prints the median of tokens a
second, all sequences together, with first and third quartile. It also prints ratios of medians with the quartiles of
the turns' ratios.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from other_versions import named_python

from qwen3cpu import _native
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import Worker
from qwen3cpu.bench.worker import serve
from qwen3cpu.engine.batch import BatchItem
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.loading.random_weights import SIZES, synthetic_checkpoint
from qwen3cpu.model import Model
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.thread_count import resolve_threads

BLOCK = _native.KV_BLOCK
MEMORIES = ("shared", "own")

Key = tuple[str, str, str]
"""Label of the version, KV format, one of MEMORIES."""


class Server:
    """The operations of a worker process."""

    def open(self, size: str, quant: str, kv: str, threads: int, depth: int, sequences: int) -> dict[str, Any]:
        """A model of random weights with `sequences` sequences of each kind."""
        self._engine = Model(
            synthetic_checkpoint(size, quant, threads=threads), kv=kv, context=None, threads=threads
        ).engine
        rng = np.random.default_rng(0)
        first = self._engine.new_sequence()
        self._engine.forward([(first, rng.integers(self._engine.vocab_size, size=BLOCK).tolist(), [])])
        self._depth, self._block = depth // BLOCK * BLOCK, first.native.read(0)
        filled = self._filled()
        self._sequences = {
            "shared": [filled.fork() for _ in range(sequences)],
            "own": [self._filled() for _ in range(sequences)],
        }
        return {}

    def run(self, memory: str, steps: int) -> dict[str, Any]:
        """Decode with one kind of sequences, and restore them afterwards."""
        sequences = self._sequences[memory]
        start = perf_counter()
        for _ in range(steps):
            self._engine.forward([BatchItem(sequence, [7], [0], "top_logits", top=20) for sequence in sequences])
        seconds = perf_counter() - start
        for sequence in sequences:
            sequence.truncate(self._depth)
        return {"tokens": steps * len(sequences), "seconds": seconds}

    def _filled(self) -> TokenSequence:
        sequence = self._engine.new_sequence()
        for _ in range(0, self._depth, BLOCK):
            sequence.native.append(self._block, BLOCK)
        return sequence


def measure(args: argparse.Namespace) -> dict[Key, list[float]]:
    """Tokens a second of each version, KV format and kind of sequences, turn by turn."""
    pythons = {**dict(args.python), "this": sys.executable}
    found: dict[Key, list[float]] = {}
    with ExitStack() as stack, Progress("Measuring", args.turns + 1, unit="turns") as progress:
        workers: dict[tuple[str, str], Worker] = {}
        for kv, (label, python) in itertools.product(args.kv, pythons.items()):
            worker = Worker(f"{label}, kv {kv}", (python, str(Path(__file__).resolve()), "--worker"))
            workers[label, kv] = stack.enter_context(worker)
            worker.ask(
                "open",
                size=args.size,
                quant=args.quant,
                kv=kv,
                threads=resolve_threads(args.threads),
                depth=args.depth,
                sequences=args.sequences,
            )
        for turn in range(args.turns + 1):
            for memory in MEMORIES:
                for label, kv in list(workers) if turn % 2 else reversed(workers):
                    run = workers[label, kv].ask("run", memory=memory, steps=args.steps)
                    if turn:
                        found.setdefault((label, kv, memory), []).append(run["tokens"] / run["seconds"])
            progress.advance(1)
    return {(label, kv, memory): found[label, kv, memory] for kv in args.kv for memory in MEMORIES for label in pythons}


def quartiles_text(values: list[float], digits: int = 1) -> str:
    """A median with first and third quartile."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratio_text(over: list[float], under: list[float]) -> str:
    """The ratio of medians, with the quartiles of the turns' ratios."""
    low, _, high = statistics.quantiles((a / b for a, b in zip(over, under, strict=True)), n=4)
    return f"{statistics.median(over) / statistics.median(under):.2f} ({low:.2f} to {high:.2f})"


def as_markdown(found: dict[Key, list[float]]) -> str:
    """A table of all that ran."""
    labels = list(dict.fromkeys(label for label, _, _ in found))
    others = [label for label in labels if label != "this"]
    first = next(kv for _, kv, _ in found)
    titles = ["kv", "memory", *labels, *(f"this / {label}" for label in others), "shared / own", f"kv / {first}"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for _, kv, memory in dict.fromkeys(("", kv, memory) for _, kv, memory in found):
        mine = found["this", kv, memory]
        cells = [kv, memory, *(quartiles_text(found[label, kv, memory]) for label in labels)]
        cells += [ratio_text(mine, found[label, kv, memory]) for label in others]
        cells.append(ratio_text(mine, found["this", kv, "own"]) if memory == "shared" else "")
        cells.append(ratio_text(mine, found["this", first, memory]) if kv != first else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=8, help="decoded together (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=4096, help="tokens that they share (default: %(default)s)")
    parser.add_argument("--kv", nargs="+", choices=_native.KV_FORMATS, default=["f16"], help="default: f16")
    parser.add_argument("--quant", default="q4", help="default: %(default)s")
    parser.add_argument("--size", choices=tuple(SIZES), default="1.7B", help="shape (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: what qwen3cpu takes by itself")
    parser.add_argument("--steps", type=int, default=8, help="passes in a turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=15, help="default: %(default)s")
    parser.add_argument(
        "--python", type=named_python, nargs="+", default=[], metavar="LABEL=PYTHON", help="further versions"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(Server())
        return 0
    try:
        found = measure(args)
    except Qwen3CpuError as error:
        print(f"shared_prefix.py: error: {error}", file=sys.stderr)
        return 2
    machine = Machine.here()
    print(f"Qwen3-{args.size} shape, random weights, {args.quant}; {machine.cpu}; qwen3cpu {machine.version}", end="")
    print(f", commit {machine.commit}" if machine.commit else "")
    print(f"{args.sequences} sequences after {args.depth} tokens\n\n{as_markdown(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
