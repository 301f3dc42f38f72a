"""Speed of every kernel in the registry, against peaks measured in the same run.

    python bench/kernels.py [--isa avx2] [--samples 15] [--threads 1 2]

Ticks are those of the CPU's time stamp counter, which runs at a fixed rate. They are cycles only if the core runs at
that rate: a core at 1.3 times the rate does 1.3 cycles per tick. Each figure is the median of the samples with the
spread between the first and third quartile. The int8 peak is that of the instruction set's own products: maddubs +
maddwd + add in AVX2, VPDPBUSD, or tiles.
"""

import argparse
import platform
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qwen3cpu import _native

kernels = _native.kernels
COLS = 2048
CACHED_ROWS = 64  # a matrix that stays in L2; whole runs of 32 rows, which tiles take together
STREAMED_BYTES = 320 << 20  # a matrix that no cache holds
TOKENS = (1, 2, 3, 4, 6, 8, 16, 64)
PIECE_BYTES = 512 << 10  # of a matrix in one call, like the engine's pieces for few tokens
ACTIVATION_BLOCK = {name: columns for name in _native.FORMATS if (columns := _native.activation_columns(name))}


def aligned(nbytes: int) -> np.ndarray:
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def quartiles(sample: Callable[[], float], samples: int) -> tuple[float, float, float]:
    """(median, first quartile, third quartile) of a figure, after one unmeasured call."""
    sample()
    values = sorted(sample() for _ in range(samples))
    return statistics.median(values), values[len(values) // 4], values[-1 - len(values) // 4]


def with_spread(figures: tuple[float, float, float], digits: int = 1) -> str:
    median, low, high = figures
    return f"{median:8.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


class Matrix:
    """A packed random matrix and inputs for up to max(TOKENS) tokens."""

    def __init__(self, weight_format: str, rows: int, cols: int) -> None:
        self.weight_format, self.rows, self.cols = weight_format, rows, cols
        rng = np.random.default_rng(0)
        # 64 different rows, repeated, because packing is not measured here.
        weights = np.tile((rng.standard_normal((64, cols)) * 0.02).astype(np.float32), (-(-rows // 64), 1))[:rows]
        self.packed = aligned(_native.matrix_bytes(weight_format, rows, cols))
        _native.pack_into(weight_format, np.ascontiguousarray(weights), self.packed, rows, 0, _native.physical_cores())
        self.x = rng.standard_normal((max(TOKENS), cols)).astype(np.float32)

    def time(self, isa: str, tokens: int, threads: int, repeats: int) -> tuple[float, float]:
        """(seconds, ticks) of one product."""
        x = self.x[:tokens]
        block = ACTIVATION_BLOCK.get(self.weight_format)
        prepared = kernels.quantize(isa, f"i8g{block}", x) if block else (x,)
        tiles = max(4, PIECE_BYTES // _native.matrix_bytes(self.weight_format, 8, self.cols) // 4 * 4)
        seconds, ticks = kernels.time_matmul(
            isa, self.weight_format, self.packed, self.rows, self.cols, prepared, tokens, tiles, threads, repeats
        )
        return seconds / repeats, ticks / repeats


def peaks(isa: str, threads: list[int], samples: int) -> None:
    print("\npeaks")
    for name in ("fp32", "int8"):

        def per_tick(name: str = name) -> float:
            done, seconds, ticks = kernels.probe_multiply(isa, name, 200_000)
            return float(done / (ticks or seconds * 1e9))

        print(f"  {name + ' multiply-adds':28}{with_spread(quartiles(per_tick, samples))} MAC/tick, one core")
    for n in threads:

        def gigabytes(n: int = n) -> float:
            return float(STREAMED_BYTES * 2 / kernels.probe_read(isa, STREAMED_BYTES, n, 2) / 1e9)

        print(f"  {'reading memory':28}{with_spread(quartiles(gigabytes, samples))} GB/s, {n} thread(s)")


def matmul(isa: str, weight_format: str, threads: list[int], samples: int) -> None:
    small = Matrix(weight_format, CACHED_ROWS, COLS)
    weights = CACHED_ROWS * COLS
    print(f"\n{isa} matmul {weight_format}, one thread, weights in cache")
    for tokens in TOKENS:
        repeats = max(4, 128 // tokens)

        def ticks_per_256(tokens: int = tokens, repeats: int = repeats) -> float:
            seconds, ticks = small.time(isa, tokens, 1, repeats)
            return (ticks or seconds * 1e9) * 256 / weights

        figures = quartiles(ticks_per_256, samples)
        print(
            f"  {tokens:3} tokens {with_spread(figures)} ticks per 256 weights"
            f" {256 * tokens / figures[0]:8.1f} MAC/tick"
        )
    rows = STREAMED_BYTES // (_native.matrix_bytes(weight_format, 64, COLS) // 64) // 64 * 64
    large = Matrix(weight_format, rows, COLS)
    for n in threads:

        def gigabytes(n: int = n) -> float:
            return large.packed.nbytes / large.time(isa, 1, n, 1)[0] / 1e9

        print(f"    1 token, from memory {with_spread(quartiles(gigabytes, samples))} GB/s, {n} thread(s)")


def attend(isa: str, kv: str, samples: int) -> None:
    dim, blocks = 128, 16
    rng = np.random.default_rng(1)
    k, v = np.zeros((2, kernels.kv_plane_bytes(kv, dim)), np.uint8)
    for slot, (key, value) in enumerate(rng.standard_normal((_native.KV_BLOCK, 2, dim)).astype(np.float32)):
        kernels.store(isa, kv, key, value, slot, k, v)
    print(f"\n{isa} attend {kv}, head_dim {dim}, blocks in cache")
    for n_rows in (1, 2, 4, 8, 16, 32):
        q = (rng.standard_normal((n_rows, dim)) / np.sqrt(dim)).astype(np.float32)
        count = np.full(n_rows, 64, np.int32)

        def ticks_per_block(q: np.ndarray = q, count: np.ndarray = count) -> float:
            seconds, ticks = kernels.time_attend(isa, kv, q, k, v, count, blocks, 20)
            return float((ticks or seconds * 1e9) / blocks / 20)

        figures = quartiles(ticks_per_block, samples)
        macs = n_rows * 64 * dim * 2
        print(f"  {n_rows:3} rows {with_spread(figures, 0)} ticks per block of 64 {macs / figures[0]:8.1f} MAC/tick")


def op(isa: str, name: str, samples: int) -> None:
    def ticks_per_value() -> float:
        seconds, ticks = kernels.time_op(isa, name, COLS, 200)
        return float((ticks or seconds * 1e9) / COLS / 200)

    print(f"  {isa} {name:18}{with_spread(quartiles(ticks_per_value, samples), 3)} ticks per value")


def rounding(isa: str, samples: int) -> None:
    n, rows = 192, 16
    rng = np.random.default_rng(2)
    u = np.triu(rng.standard_normal((n, n)) * 0.05, 1).astype(np.float32) + np.eye(n, dtype=np.float32)
    w = (rng.standard_normal((n, rows)) * 0.05).astype(np.float32)
    importance, row_scale = np.ones(n, np.float32), np.full(rows, 0.0004, np.float32)

    def ticks_per_256() -> float:
        seconds, ticks = kernels.time_round_q4(isa, u, importance, row_scale, w, 5)
        return float((ticks or seconds * 1e9) * 256 / w.size / 5)

    figures = with_spread(quartiles(ticks_per_256, samples), 0)
    print(f"  {isa} round q4, runs of {n} columns {figures} ticks per 256 weights")


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--isa", default=_native.chosen_isa(), help="instruction set (default: the chosen one)")
    arguments.add_argument("--samples", type=int, default=15)
    arguments.add_argument("--threads", type=int, nargs="+", default=sorted({1, _native.physical_cores()}))
    arguments.add_argument("--only", help="only kernels whose kind or name contains this")
    given = arguments.parse_args()

    measure: dict[str, Callable[[str], Any]] = {
        "matmul": lambda name: matmul(given.isa, name, given.threads, given.samples),
        "attend": lambda name: attend(given.isa, name, given.samples),
        "op": lambda name: op(given.isa, name, given.samples),
        "round": lambda _: rounding(given.isa, given.samples),
    }
    print(f"{cpu_name()}, isa {given.isa}, {_native.physical_cores()} cores, commit {commit()}")
    peaks(given.isa, given.threads, given.samples)
    rows = [(kind, name) for isa, kind, name in kernels.rows() if isa == given.isa and kind in measure]
    for kind, name in rows:
        if not given.only or given.only in f"{kind} {name}":
            measure[kind](name)


if __name__ == "__main__":
    main()
