"""Measure the costs of rows, actors and blocks on this machine, for bench/cluster.py.

    python bench/cluster_costs.py FOLDER [--size 0.6B] [--out bench/measured/cluster.json]

All times are processor times, so that other work on the machine counts little. A packed file of the shape with random
weights is written into FOLDER, unless it exists, and one thread answers rows with it. Blocks and actors are those of a
cluster with one node on this machine. Needs the extra [ray].
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import ray
import ray.data
from less_memory import write_model

import qwen3cpu
from qwen3cpu.batch import run_file
from qwen3cpu.bench.machine import Machine
from qwen3cpu.integrations.ray_data.folder import write_part
from qwen3cpu.integrations.ray_data.keys import key_mark

BLOCKS = (16, 64, 256)
PROMPT, LEAST, MOST = 64, 8, 56
"""Tokens of a prompt, and of the shortest and the longest answer."""


def block_seconds(model: qwen3cpu.Model, rows: int) -> float:
    """Seconds for a block of `rows` rows, with prompts that share nothing and answers of different lengths."""
    chance = np.random.default_rng(rows)
    model.engine.prefix_cache.clear()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        lengths = np.linspace(LEAST, MOST, rows).round().astype(int)
        with source.open("w") as file:
            for number, length in enumerate(chance.permutation(lengths)):
                ids = chance.integers(1000, 100_000, PROMPT).tolist()
                line = {"custom_id": f"{number}", "prompt": ids, "max_new_tokens": int(length), "ignore_eos": True}
                print(json.dumps(line), file=file)
        start = process_time()
        run_file(model, source, Path(folder) / "out.jsonl")
        return process_time() - start


class Loading:
    """An actor that loads a model and measures this from the start of its process."""

    def __init__(self, path: str) -> None:
        import qwen3cpu.integrations.ray_data.actors

        self._model = qwen3cpu.load(path, threads=1)
        self._seconds = process_time()

    def seconds(self) -> float:
        """Processor seconds until the model was loaded."""
        return self._seconds


class Nothing:
    """An actor without work."""

    def here(self) -> bool:
        """Answer, to show that it has started."""
        return True


def actor_seconds(path: Path, count: int) -> list[float]:
    """Processor seconds of actors from the start of their process until the model is loaded, one after the other."""
    found = []
    for _ in range(count):
        actor = ray.remote(num_cpus=1)(Loading).remote(str(path))
        found.append(ray.get(actor.seconds.remote()))
        ray.kill(actor)
    return found


def of_the_head(run: Callable[[], Any]) -> float:
    """Processor seconds of the head's server of the cluster's state during a call of `run`."""
    (server,) = [each for each in psutil.Process().children(recursive=True) if each.name() == "gcs_server"]
    before = sum(server.cpu_times()[:2])
    run()
    return sum(server.cpu_times()[:2]) - before


def head_seconds(count: int) -> float:
    """Seconds that the cluster's state takes for an actor."""
    kind = ray.remote(num_cpus=0)(Nothing)

    def make() -> None:
        actors = [kind.remote() for _ in range(count)]
        ray.get([actor.here.remote() for actor in actors])

    return of_the_head(make) / count


class Pass:
    """Returns blocks unchanged."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """The block."""
        return table


def driver_seconds(few: int, many: int) -> float:
    """Seconds of the driver for a block, from the difference of two numbers of them."""
    found = []
    for blocks in (few, many):
        dataset = ray.data.range(blocks, override_num_blocks=blocks)
        pool = ray.data.ActorPoolStrategy(size=1)
        passed = dataset.map_batches(Pass, batch_format="pyarrow", batch_size=None, compute=pool, num_cpus=1)
        start = process_time()
        for _ in passed.iter_batches(batch_size=None, batch_format="pyarrow"):
            pass
        found.append(process_time() - start)
    return (found[1] - found[0]) / (many - few)


def part_seconds(rows: int, count: int) -> float:
    """Seconds for a row of a part that is written."""
    texts = [f"{number}" * 40 for number in range(rows)]
    table = pa.table({"id": texts, "prompt": texts, "text": texts})
    with tempfile.TemporaryDirectory() as folder:
        start = process_time()
        for number in range(count):
            write_part(Path(folder), table, "parquet", 0, key_mark(number))
        return (process_time() - start) / count / rows


def measured(path: Path) -> dict[str, Any]:
    """All costs."""
    model = qwen3cpu.load(path, threads=1)
    block_seconds(model, BLOCKS[0])
    blocks = {str(rows): block_seconds(model, rows) for rows in BLOCKS}
    weights = model.weight_bytes
    del model
    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        actors = actor_seconds(path, 5)
        head = head_seconds(20)
        driver_seconds(20, 21)
        driver = driver_seconds(100, 600)
    finally:
        ray.shutdown()
    return {
        "machine": dataclasses.asdict(Machine.here()),
        "ray": ray.__version__,
        "weight_bytes": weights,
        "prompt_tokens": PROMPT,
        "answer_tokens": [LEAST, MOST],
        "block_seconds": blocks,
        "actor_seconds": statistics.median(actors),
        "head_seconds_of_an_actor": head,
        "driver_seconds_of_a_block": driver,
        "part_seconds_of_a_row": part_seconds(256, 20),
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="0.6B")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "measured" / "cluster.json")
    options = parser.parse_args()
    path = options.folder / f"{options.size}.qwen3"
    if not path.exists():
        write_model(path, options.size)
    found = {"size": options.size, "quant": "q4", **measured(path)}
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(options.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
