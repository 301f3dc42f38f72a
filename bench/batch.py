"""Throughput of a batch file compared with `Model.generate_batch` on the same jobs, in turns.

    python bench/batch.py [MODEL] [--jobs 2000] [--tokens 32] [--turns 5] [--threads N] [--cpu] [--json]

MODEL is whatever `load` takes; default: the embedded model. A turn answers the same prompts three times, each time with
an empty prefix cache: by `generate_batch`, from a file of plain lines, and from a file of OpenAI's chat lines. All have
the same sampling, but in a file each line has its own seed. `--ignore-eos` makes every answer `--tokens` long. The time
of a file includes reading, checking, the journal and the output.

Prints the median of each way and the median of the turns' ratios, with the least and the largest. `--cpu` counts
processor time instead of wall time, for machines with other work. Use it with `--threads 1`, because idle threads wait
in loops.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import qwen3cpu
from qwen3cpu.batch import run_file
from qwen3cpu.bench.machine import Machine

BESIDE = "generate_batch"
"""The way with which the files are compared."""


def write_jobs(folder: Path, prompts: list[str], tokens: int, ignore_eos: bool) -> dict[str, Path]:
    """An input file of each form."""
    files = {form: folder / f"{form}.jsonl" for form in ("plain lines", "chat lines")}
    with open(files["plain lines"], "w") as plain, open(files["chat lines"], "w") as chat:
        for number, prompt in enumerate(prompts):
            more = {"max_tokens": tokens, "ignore_eos": ignore_eos}
            print(json.dumps({"prompt": prompt, "thinking": False, **more}), file=plain)
            body = {"messages": [{"role": "user", "content": prompt}], "reasoning_effort": "none", **more}
            line = {"custom_id": f"job-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            print(json.dumps(line), file=chat)
    return files


def ways(model: qwen3cpu.Model, folder: Path, options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """The functions that are measured, by name."""
    prompts = [f"Write a line about the number {each}. What is {each} plus {each % 7}?" for each in range(options.jobs)]
    given = {"max_new_tokens": options.tokens, "ignore_eos": options.ignore_eos, "thinking": False}
    found: dict[str, Callable[[], Any]] = {BESIDE: lambda: model.generate_batch(prompts, seed=0, **given)}
    for form, path in write_jobs(folder, prompts, options.tokens, options.ignore_eos).items():
        found[form] = partial(run_file, model, path, folder / "out.jsonl", restart=True)
    return found


def measure(model: qwen3cpu.Model, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each way, turn by turn. One more turn before the first warms up."""
    clock = process_time if options.cpu else perf_counter
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.turns + 1):
            for name, run in ways(model, Path(folder), options).items():
                model.engine.prefix_cache.clear()
                start = clock()
                run()
                if turn:
                    seconds.setdefault(name, []).append(clock() - start)
    return seconds


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quant")
    parser.add_argument("--ignore-eos", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = qwen3cpu.load(options.model, threads=options.threads, quant=options.quant)
    seconds = measure(model, options)
    ratios = {
        name: sorted(beside / own for beside, own in zip(seconds[BESIDE], each, strict=True))
        for name, each in seconds.items()
    }
    if options.json:
        print(
            json.dumps(
                {"machine": dataclasses.asdict(Machine.here()), **vars(options), "seconds": seconds, "ratios": ratios}
            )
        )
        return 0
    for name, each in seconds.items():
        median = statistics.median(each)
        ratio = statistics.median(ratios[name])
        print(
            f"{name:15} {options.jobs / median:8.1f} jobs/s   {ratio:6.1%} of {BESIDE} "
            f"({ratios[name][0]:.1%} to {ratios[name][-1]:.1%})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
