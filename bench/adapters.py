"""Measure what an adapter costs: python bench/adapters.py [--model PATH | --synthetic 1.7B] [--quant q4] [--rank 16]

A random adapter on all linear layers is written, loaded, and measured in turns with the model alone. The two runs of a
turn follow each other in changing order, so changes of the machine's speed affect both. Cases: a prompt, decoding one
answer, and decoding several answers, all with one adapter and each with its own. The cost is the median over the turns
of seconds with / seconds without - 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

import qwen3cpu
from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.loading.random_weights import SIZES, synthetic_checkpoint
from qwen3cpu.system.thread_count import resolve_threads

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from lora_adapters import LINEAR, model_shape, write_adapter

WARM_UP = 2


def load(args: argparse.Namespace) -> qwen3cpu.Model:
    """The model that is measured."""
    if args.model is not None:
        return qwen3cpu.load(args.model, quant=args.quant, threads=args.threads)
    threads = resolve_threads(args.threads)
    checkpoint = synthetic_checkpoint(args.synthetic, args.quant, threads=threads)
    return qwen3cpu.Model(checkpoint, kv="f16", context=4096, threads=threads)


def prompt_seconds(model: qwen3cpu.Model, adapter: Adapter | None, tokens: int) -> float:
    """Seconds of one prompt, in pieces of 256 tokens."""
    sequence = model.engine.new_sequence(adapter)
    ids = [n % 1000 for n in range(tokens)]
    start = perf_counter()
    for first in range(0, tokens, 256):
        model.engine.forward([(sequence, ids[first : first + 256], [])])
    seconds = perf_counter() - start
    sequence.release()
    return seconds


def decode_seconds(model: qwen3cpu.Model, adapters: Sequence[Adapter | None], tokens: int) -> float:
    """Seconds of `tokens` tokens of each answer, one token of each in a pass."""
    sequences = [model.engine.new_sequence(adapter) for adapter in adapters]
    start = perf_counter()
    for n in range(tokens):
        model.engine.forward([(sequence, [n], [0]) for sequence in sequences])
    seconds = perf_counter() - start
    for sequence in sequences:
        sequence.release()
    return seconds


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", help="a model folder or file")
    source.add_argument("--synthetic", choices=SIZES, default="1.7B", help="a shape with random weights")
    parser.add_argument("--quant", default="q4")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--n-prompt", type=int, default=512)
    parser.add_argument("--n-gen", type=int, default=16)
    parser.add_argument("--answers", type=int, default=4, help="decoded together in the last two cases")
    args = parser.parse_args()
    model = load(args)
    kind = {"r": args.rank, "lora_alpha": args.rank, "target_modules": LINEAR}
    with tempfile.TemporaryDirectory() as folder:
        for n in range(args.answers):
            model.adapters.load(
                f"a{n}", write_adapter(Path(folder) / str(n), model_shape(model), kind, seed=n, size=0.01)
            )
    own = [named.adapter for named in model.adapters.values()]
    one, none = own[:1], [None] * args.answers
    cases = {
        f"prompt of {args.n_prompt}": [
            lambda each=each: prompt_seconds(model, each, args.n_prompt) for each in (None, own[0])
        ],
        "decoding": [lambda each=each: decode_seconds(model, each, args.n_gen) for each in ([None], one)],
        f"{args.answers} answers, one adapter": [
            lambda each=each: decode_seconds(model, each, args.n_gen) for each in (none, one * args.answers)
        ],
        f"{args.answers} answers, {args.answers} adapters": [
            lambda each=each: decode_seconds(model, each, args.n_gen) for each in (none, own)
        ],
    }
    print(f"{model!r}, rank {args.rank}, {own[0].nbytes / 1e6:.1f} MB an adapter")
    for name, (without, with_it) in cases.items():
        ratios, seconds = [], []
        for turn in range(args.turns + WARM_UP):
            found = {}
            for place in (0, 1) if turn % 2 else (1, 0):
                found[place] = (without, with_it)[place]()
            if turn >= WARM_UP:
                ratios.append(found[1] / found[0])
                seconds.append(found[0])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        alone_ms = 1e3 * statistics.median(seconds)
        spread = f"(quartiles {100 * (low - 1):.1f} to {100 * (high - 1):.1f})"
        print(f"{name:24} alone {alone_ms:8.2f} ms, the adapter costs {100 * (middle - 1):5.1f} % {spread}", flush=True)


if __name__ == "__main__":
    main()
