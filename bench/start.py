"""Measure the time from `load` to the first token, and peak memory against weights and KV cache, in new processes.

    python bench/start.py MODEL [--quant q4] [--kv f16] [--threads 2] [--prompt 16] [--tokens 8] [--runs 7] [--json]

MODEL is whatever `load` takes. The first run is not counted: it may convert the weights, and it reads the files into
the system's cache. The prompt is a text of `--prompt` tokens, so that the tokenizer is needed too. Prints medians with
the least and the largest value. Peak memory is the largest of all runs, and includes weights mapped from a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.bench.machine import Machine
from qwen3cpu.system.process_limits import peak_memory

ALLOWANCE = 150_000_000  # bytes in addition to weights and KV cache
SECONDS = ("load", "first_token")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One start, in this process."""
    start = perf_counter()
    model = qwen3cpu.load(options.model, quant=options.quant, kv=options.kv, threads=options.threads)
    loaded = perf_counter()
    # Each repetition of " the" is one token.
    prompt = "the" + " the" * (options.prompt - 1)
    length = len(model.tokenizer.encode(prompt))
    tokens = model.stream(prompt, raw=True, max_new_tokens=options.tokens, ignore_eos=True)
    next(tokens)
    first = perf_counter()
    for _ in tokens:
        pass
    blocks = -(-(length + options.tokens) // _native.KV_BLOCK)
    return {
        "load": loaded - start,
        "first_token": first - start,
        "prompt_tokens": length,
        "peak_rss_bytes": peak_memory(),
        "weight_bytes": model.weight_bytes,
        "kv_bytes": int(model.kv_bytes_per_token * _native.KV_BLOCK * blocks),
        "threads": model.threads,
        "quant": model.quant,
    }


def child(arguments: list[str]) -> dict[str, Any]:
    """One start, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--child"]
    # The child imports the same package as this process.
    paths = [str(Path(qwen3cpu.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, least and largest values of several starts."""
    last = runs[-1]
    found: dict[str, Any] = {name: last[name] for name in ("prompt_tokens", "threads", "quant")}
    for name in SECONDS:
        times = [run[name] for run in runs]
        found[f"{name}_seconds"] = {"median": statistics.median(times), "min": min(times), "max": max(times)}
    found |= {name: last[name] for name in ("weight_bytes", "kv_bytes")}
    found["peak_rss_bytes"] = max(run["peak_rss_bytes"] for run in runs)
    found["beside_bytes"] = found["peak_rss_bytes"] - found["weight_bytes"] - found["kv_bytes"]
    return found


def table(model: str, machine: Machine, runs: int, found: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [
        f"{model}, {found['quant']}, {found['threads']} threads; {machine.cpu}; qwen3cpu {machine.version}, commit "
        f"{machine.commit}; {runs} new processes"
    ]
    labels = {"load": "load", "first_token": f"load to first token after {found['prompt_tokens']} tokens"}
    for name, label in labels.items():
        times = found[f"{name}_seconds"]
        lines.append(f"{label:45} {times['median']:.3f} s ({times['min']:.3f} to {times['max']:.3f})")
    for name, label in (("weight_bytes", "weights"), ("kv_bytes", "KV cache"), ("peak_rss_bytes", "peak RSS")):
        lines.append(f"{label:45} {found[name] / 1e6:.1f} MB")
    verdict = "" if found["beside_bytes"] <= ALLOWANCE else f", MORE than {ALLOWANCE / 1e6:.0f}"
    lines.append(f"{'beside weights and KV cache':45} {found['beside_bytes'] / 1e6:.1f} MB{verdict}")
    return "\n".join(lines)


def main() -> None:
    """Start a model several times."""
    parser = argparse.ArgumentParser(description="Time from load to the first token, and peak memory.")
    parser.add_argument("model", help="whatever load() takes")
    parser.add_argument("--quant", help="default: q4, or the format of a packed file")
    parser.add_argument("--kv", default="f16")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--prompt", type=int, default=16, metavar="TOKENS")
    parser.add_argument("--tokens", type=int, default=8, help="tokens to generate")
    parser.add_argument("--runs", type=int, default=7, help="processes that count")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options)))
        return
    if min(options.prompt, options.tokens, options.runs) < 1:
        parser.error("--prompt, --tokens and --runs must be at least 1")
    runs = [child(sys.argv[1:]) for _ in range(options.runs + 1)][1:]
    found, machine = summary(runs), Machine.here()
    if options.json:
        print(json.dumps({"model": options.model, **vars(machine), **found, "runs": runs}, indent=2))
    else:
        print(table(options.model, machine, len(runs), found))


if __name__ == "__main__":
    main()
