"""Time sampling one token from a row of Qwen3's 151,936 logits, for several settings and shapes of the logits.

    python bench/sampling.py [--repeat 300] [--json]

Prints the median with the 10th and 90th percentile, in microseconds. "peaked" is the normal case, where a few tokens
stand out, as in a trained model. "flat" is the worst case, where nearly every token has a weight.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.sampling import NON_THINKING, THINKING, Sampler, SamplingParams

VOCAB_SIZE = 151_936
TOKEN_LIMIT = 151_669
ROWS = 8  # different rows in turn, so that branch prediction cannot learn one of them

SETTINGS: dict[str, SamplingParams] = {
    "greedy": SamplingParams(temperature=0.0),
    "thinking (T 0.6, top_k 20, top_p 0.95)": THINKING,
    "non-thinking (T 0.7, top_k 20, top_p 0.8)": NON_THINKING,
    "non-thinking, presence 1.5, repetition 1.1, 4096 prompt ids": NON_THINKING.replace(
        presence_penalty=1.5, repetition_penalty=1.1
    ),
    "top_k 1000": SamplingParams(top_k=1000),
    "top_k 50000": SamplingParams(top_k=50_000),
    "top_p 0.95": SamplingParams(top_p=0.95),
    "min_p 0.05": SamplingParams(min_p=0.05),
    "top_n_sigma 1": SamplingParams(top_n_sigma=1.0),
    "typical_p 0.9": SamplingParams(typical_p=0.9),
    "typical_p 0.9 and XTC after top_k 20": SamplingParams(top_k=20, typical_p=0.9, xtc_probability=0.5),
    "T 1, no filter": SamplingParams(),
}


def rows_of(kind: str) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(ROWS):
        row = rng.normal(0.0, 2.5, VOCAB_SIZE) if kind == "peaked" else rng.normal(0.0, 0.7, VOCAB_SIZE)
        if kind == "peaked":
            row[rng.integers(0, TOKEN_LIMIT, 40)] += rng.uniform(8.0, 22.0, 40)
        rows.append(row.astype(np.float32))
    return rows


def measure(params: SamplingParams, rows: list[NDArray[np.float32]], repeat: int) -> list[float]:
    """Microseconds of `repeat` single calls."""
    prompt = np.random.default_rng(1).integers(0, TOKEN_LIMIT, 4096)
    sampler = Sampler(params.replace(seed=0), vocab_size=VOCAB_SIZE, token_limit=TOKEN_LIMIT, prompt=prompt)
    for row in rows:
        sampler.sample(row)
    times = []
    for i in range(repeat):
        start = time.perf_counter_ns()
        sampler.sample(rows[i % len(rows)])
        times.append((time.perf_counter_ns() - start) / 1000)
    return times


def measure_logprobs(rows: list[NDArray[np.float32]], repeat: int) -> list[float]:
    sampler = Sampler(THINKING, vocab_size=VOCAB_SIZE, token_limit=TOKEN_LIMIT, prompt=[])
    times = []
    for i in range(repeat):
        start = time.perf_counter_ns()
        sampler.logprobs(rows[i % len(rows)], 17, top=20)
        times.append((time.perf_counter_ns() - start) / 1000)
    return times


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=300, help="calls per line (default 300)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    args = parser.parse_args()
    if args.repeat < 1:
        parser.error(f"--repeat must be at least 1, got {args.repeat}")

    results = []
    for kind in ("peaked", "flat"):
        rows = rows_of(kind)
        timed = {name: measure(params, rows, args.repeat) for name, params in SETTINGS.items()}
        timed["logprobs, top 20"] = measure_logprobs(rows, args.repeat)
        for name, times in timed.items():
            low, median, high = (float(q) for q in np.percentile(times, [10, 50, 90]))
            results.append({"logits": kind, "setting": name, "p10_us": low, "median_us": median, "p90_us": high})

    if args.json:
        print(json.dumps({"cpu": cpu_name(), "vocab_size": VOCAB_SIZE, "repeat": args.repeat, "results": results}))
        return
    print(f"{cpu_name()}, 1 thread, {VOCAB_SIZE} logits, {args.repeat} calls each, microseconds")
    for r in results:
        print(f"{r['logits']:7s} {r['setting']:60s} {r['median_us']:7.0f}  ({r['p10_us']:.0f} .. {r['p90_us']:.0f})")


if __name__ == "__main__":
    main()
