"""Measure tokens a second of a model whose file is larger than the memory of the process, by the share that fits.

    python bench/less_memory.py FOLDER [--size 30B-A3B-8] [--shares 1.3 1 0.75 0.5] [--tokens 64]

A packed file of the shape with random weights is written into FOLDER, unless it exists. For each share a process of its
own gets a memory control group whose limit is that share of the file. It reads a prompt of 16 tokens and decodes. Every
token chooses its experts at random, which is harder than text. Linux only; the control group needs the rights of root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

import qwen3cpu
from qwen3cpu.bench.errors import BenchError
from qwen3cpu.checkpoint.known_models import shaped_values
from qwen3cpu.checkpoint.model_texts import parse_texts
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.loading.random_weights import SIZES, synthetic_checkpoint
from qwen3cpu.packed.matrix import MatrixLayout
from qwen3cpu.packed.packed_file import Origin
from qwen3cpu.packed.packed_writer import write_packed

PROMPT = [37 * n % 1000 for n in range(16)]
ROOTS = ((Path("/sys/fs/cgroup"), "memory.max"), (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"))
"""Where control groups of version 2 and 1 are made, and the file with the limit."""


def write_model(path: Path, size: str) -> None:
    """A packed file of a shape with random weights."""
    checkpoint = synthetic_checkpoint(size, "q4", threads=os.cpu_count() or 1)
    files = {
        "config.json": json.dumps(shaped_values(SIZES[size], 40960)).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": checkpoint.tokenizer_json,
        "tokenizer_config.json": b"{}",
    }

    def copy(name: str, layout: MatrixLayout, out: np.ndarray) -> None:
        out[:] = checkpoint.matrices[name].data

    write_packed(
        path,
        parse_texts(files, None, str(path)),
        "q4",
        Origin(size, checkpoint.fingerprint, {}),
        {name: matrix.layout for name, matrix in checkpoint.matrices.items()},
        copy,
        checkpoint.vectors.__getitem__,
        dict,
    )


def group(limit: int) -> Path:
    """A new control group. Raises BenchError where none can be made."""
    for root, name in ROOTS:
        if not (root / "cgroup.procs").exists():
            continue
        made = root / f"qwen3cpu-{os.getpid()}"
        try:
            made.mkdir()
            (made / name).write_text(str(limit))
            return made
        except OSError:
            if made.is_dir():
                made.rmdir()
    raise BenchError("expected the right to make a memory control group below /sys/fs/cgroup")


def forget(path: Path) -> None:
    """Remove a file from the system's cache, because cached pages would count for no group."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(path: Path, tokens: int, warm_up: int) -> dict[str, float]:
    """Seconds to load and for the prompt, and tokens a second, in this process."""
    start = perf_counter()
    model = qwen3cpu.load(path, context=1024)
    loaded = perf_counter()
    sequence = model.engine.new_sequence()
    (row,) = model.engine.forward([(sequence, PROMPT, [len(PROMPT) - 1])])
    prompted = perf_counter()
    for number in range(warm_up + tokens):
        if number == warm_up:
            begun = perf_counter()
        (row,) = model.engine.forward([(sequence, [int(row[0].argmax()) % 1000], [0])])
    return {
        "load_seconds": loaded - start,
        "prompt_seconds": prompted - loaded,
        "tokens_per_second": tokens / (perf_counter() - begun),
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=tuple(SIZES), default="30B-A3B-8", help="shape (default: %(default)s)")
    parser.add_argument("--shares", type=float, nargs="+", default=[1.3, 1.0, 0.75, 0.5], help="of the file")
    parser.add_argument("--tokens", type=int, default=64, help="to decode (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=8, help="tokens before them (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    path = args.folder / f"{args.size}.qwen3"
    if args.here:
        print(json.dumps(measure(path, args.tokens, args.warm_up)))
        return 0
    try:
        if not path.exists():
            args.folder.mkdir(parents=True, exist_ok=True)
            write_model(path, args.size)
        size = path.stat().st_size
        print(f"{args.size}, a file of {size / 1e9:.1f} GB\n\n| memory | of the file | first token after | tokens/s |")
        print("|---|---|---|---|", flush=True)
        for share in args.shares:
            forget(path)
            made = group(int(share * size))
            try:
                enter = f'echo $$ > {made}/cgroup.procs; exec "$@"'
                command = ["sh", "-c", enter, "sh", sys.executable, *sys.argv, "--here"]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise BenchError(f"the process with {share:g} of the file ended: {done.stderr.strip()[-300:]}")
                found = json.loads(done.stdout)
                first = found["load_seconds"] + found["prompt_seconds"]
                print(
                    f"| {share * size / 1e9:.1f} GB | {share:.0%} | {first:.1f} s | {found['tokens_per_second']:.2f} |",
                    flush=True,
                )
            finally:
                made.rmdir()
    except Qwen3CpuError as error:
        print(f"less_memory.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
