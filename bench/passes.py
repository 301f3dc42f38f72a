"""Time forward passes of few tokens: a piece of a prompt, and as many sequences that decode together.

    python bench/passes.py [--tokens 8 16 32 64] [--isa avx2 avx512vnni] [--depth N] [--python BEFORE=PYTHON]

Both give the engine a pass of that many tokens. The sequences need logits of every token, and the prompt only of its
last token, so the head has more work for the sequences. Each instruction set has a process of its own, and so have both
kinds of activations with `--activations`, and each further version of qwen3cpu that `--python` names. All take turns.
Only the time inside the compiled engine counts, and with `--sampling` also that of the sampler and the detokenizer.

Prints medians of tokens a second with the least and the largest, and the sequences' speed as a share of the prompt's.
It also prints the time of a pass divided by that of two passes of half as many tokens: above 1, two passes are faster.
`-o` writes the medians of the first process to a file, from which users.py computes how many users a server carries.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from other_versions import named_python

from qwen3cpu.bench.cases import Case
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import OWN_WORKER, Worker
from qwen3cpu.bench.report import Spread, spread_text
from qwen3cpu.engine.formats import ACTIVATIONS, DEFAULT_ACTIVATIONS
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.loading.random_weights import SIZES
from qwen3cpu.system.instruction_sets import chosen_isa
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.thread_count import resolve_threads

STEPS = 4
"""Passes in one run of sequences."""
OTHER_WORKER = "from qwen3cpu.bench.worker import main; main()"

Key = tuple[str, str, int]
"""Label of a process, "prompt" or "sequences", tokens of a pass."""


def measure(args: argparse.Namespace) -> dict[Key, list[float]]:
    """Tokens a second of each process and case, turn by turn."""
    threads = resolve_threads(args.threads)
    commands = {"": OWN_WORKER, **{label: (path, "-c", OTHER_WORKER) for label, path in args.python}}
    cases = [(kind, n) for n in args.tokens for kind in ("prompt", "sequences")]
    cases += [("prompt", n) for n in args.prompts]
    found: dict[Key, list[float]] = {}
    with ExitStack() as stack, Progress("Measuring", (args.turns + 1) * len(cases), unit="rounds") as progress:
        workers: dict[str, Worker] = {}
        for isa in args.isa or [chosen_isa()]:
            for activations, (label, command) in itertools.product(args.activations, commands.items()):
                other = "" if activations == DEFAULT_ACTIVATIONS else activations
                name = " ".join(filter(None, (isa, other, label)))
                worker = stack.enter_context(Worker(name, command, {"QWEN3CPU_ISA": isa}))
                asked = {"model": None, "synthetic": args.size, "quant": args.quant, "kv": "f16", "threads": threads}
                worker.ask("open", **asked, **({"activations": activations} if other else {}))
                workers[name] = worker
        for turn in range(args.turns + 1):
            for kind, n in cases:
                n_prompt, n_gen, batch = (n, 0, 1) if kind == "prompt" else (0, STEPS, n)
                case = Case(n_prompt, n_gen, depth=args.depth, batch=batch, threads=threads, quant=args.quant, kv="f16")
                for name in list(workers) if turn % 2 else reversed(workers):
                    run: dict[str, Any] = workers[name].ask("run", case=case.as_dict())
                    if turn:
                        seconds = run["seconds" if args.sampling else "native_seconds"]
                        found.setdefault((name, kind, n), []).append(run["tokens"] / seconds)
                progress.advance(1)
    return found


def as_markdown(found: dict[Key, list[float]]) -> str:
    """A table for each process."""
    lines = []
    names = list(dict.fromkeys(name for name, _, _ in found))
    for name in names:
        lines += ["", f"{name}, tokens a second", ""]
        lines.append("| tokens | prompt | against two halves | sequences | against two halves | of the prompt |")
        lines.append("|" + " ---: |" * 6)
        for n in dict.fromkeys(n for _, _, n in found):
            cells = [str(n)]
            for kind in ("prompt", "sequences"):
                speeds = found.get((name, kind, n), [])
                if not speeds:
                    cells += ["", ""]
                    continue
                halves = found.get((name, kind, n // 2)) if n % 2 == 0 else None
                ratios = [half / speed for half, speed in zip(halves or (), speeds, strict=False)]
                cells += [spread_text(Spread.of(speeds)), f"{statistics.median(ratios):.2f}" if ratios else ""]
            pairs = zip(found.get((name, "sequences", n), ()), found[name, "prompt", n], strict=False)
            shares = [100 * mine / its for mine, its in pairs]
            share = Spread.of(shares) if shares else None
            cells.append(f"{share.median:.0f} % ({share.min:.0f} to {share.max:.0f})" if share else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_costs(found: dict[Key, list[float]]) -> dict[str, dict[int, float]]:
    """Kind of pass -> its tokens -> its seconds, of the first process."""
    first = next(iter(found))[0]
    costs: dict[str, dict[int, float]] = {"prompt": {}, "sequences": {}}
    for (name, kind, n), speeds in found.items():
        if name == first:
            costs[kind][n] = round(n / statistics.median(speeds), 5)
    return costs


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="of a pass")
    parser.add_argument("--prompts", type=int, nargs="+", default=[], help="further pieces, without sequences")
    parser.add_argument("--isa", nargs="+", metavar="NAME", help="instruction sets (default: the best)")
    parser.add_argument("--quant", default="q4", help="default: %(default)s")
    parser.add_argument(
        "--activations", nargs="+", choices=ACTIVATIONS, default=[DEFAULT_ACTIVATIONS], help="default: %(default)s"
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="1.7B", help="shape (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: what qwen3cpu takes by itself")
    parser.add_argument("--depth", type=int, default=0, metavar="N", help="tokens before (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--sampling", action="store_true", help="count sampling and text as well")
    parser.add_argument(
        "--python", type=named_python, nargs="+", default=[], metavar="LABEL=PYTHON", help="further versions"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="medians as JSON")
    args = parser.parse_args()
    try:
        found = measure(args)
    except Qwen3CpuError as error:
        print(f"passes.py: error: {error}", file=sys.stderr)
        return 2
    machine = Machine.here()
    what = f"Qwen3-{args.size} shape, random weights, {args.quant}; {machine.cpu}; qwen3cpu {machine.version}"
    what += f", commit {machine.commit}" if machine.commit else ""
    what += f"; after {args.depth:,} tokens" if args.depth else ""
    print(what)
    print(as_markdown(found))
    if args.output:
        args.output.write_text(json.dumps({"what": what, **as_costs(found)}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
