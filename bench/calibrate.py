"""Estimate time and memory of `qwen3cpu quantize --calibrate` for a large model from a few steps of each part.

    python bench/calibrate.py MODEL [--threads 2] [--layers 1] [--places 8]

MODEL is a folder. It is packed to q8 completely. The other parts are estimated from a few steps, whose time is
multiplied by the number of steps. To write the text, `--places` tokens of 32 pieces are computed side by side. Costs
are measured for the matrices of the first and of the last layer, between which the times fall evenly. The first
`--layers` layers are rounded, over a text of full length. Peak memory is that of this process.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from qwen3cpu.bench.machine import Machine
from qwen3cpu.checkpoint.weight_source import original_matrix, read_vectors
from qwen3cpu.engine.engine import Engine
from qwen3cpu.loading.sources import open_unpacked
from qwen3cpu.packed.matrix import plan_matrices
from qwen3cpu.quantization.bit_budget import CostMeter
from qwen3cpu.quantization.calibrate import in_q4
from qwen3cpu.quantization.calibration_source import Source
from qwen3cpu.quantization.own_text import write_text
from qwen3cpu.quantization.pack_model import pack_in_memory
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.quantization.round_layers import LayerRounder
from qwen3cpu.system.process_limits import peak_memory
from qwen3cpu.system.progress_bar import Progress

SILENT = Progress("", None)


def write(source: Source, recipe: Recipe, places: int, threads: int) -> float:
    """Seconds for all tokens of the text."""
    native = source.whole(places, threads)
    engine = Engine(native, vocab_size=source.config.vocab_size, context=places)
    limit = source.token_limit
    write_text(engine, token_limit=limit, pieces=32, length=2, seed=0, progress=SILENT)
    start = perf_counter()
    write_text(engine, token_limit=limit, pieces=32, length=places, seed=0, progress=SILENT)
    return (perf_counter() - start) * (recipe.tokens + recipe.held_out) / (32 * (places - 1))


def measure(source: Source, ids: np.ndarray, threads: int) -> float:
    """Seconds for the costs of all layers."""
    meter = CostMeter(source.config, source.matrices, source.vectors, ids, threads=threads)
    last = source.config.num_hidden_layers - 1
    seconds = []
    for layer in range(last + 1):
        start = perf_counter()
        meter.layer(in_q4(source, layer, threads=threads) if layer in (0, last) else {})
        if layer in (0, last):
            seconds.append(perf_counter() - start)
    return sum(seconds) / 2 * (last + 1)


def round_some(source: Source, ids: np.ndarray, recipe: Recipe, layers: int, threads: int) -> float:
    """Seconds for the rounding of all layers."""
    few = replace(source, config=replace(source.config, num_hidden_layers=layers))
    start = perf_counter()
    for _ in LayerRounder(few, plan_matrices(source.config, "q4"), recipe, threads, SILENT).run(ids):
        pass  # the packed matrices are not kept
    return (perf_counter() - start) * source.config.num_hidden_layers / layers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--places", type=int, default=8)
    options = parser.parse_args()
    opened = open_unpacked(options.model)
    weights, texts = opened.weights, opened.read_texts()
    recipe, config = Recipe(), texts.config
    start = perf_counter()
    matrices = pack_in_memory(weights, texts, "q8", threads=options.threads, progress=SILENT, spill=options.model)
    seconds = {"packing to q8": perf_counter() - start}
    original = partial(original_matrix, weights)
    source = Source(config, matrices, read_vectors(weights), config.vocab_size, original, lambda text: [])
    generator = np.random.default_rng(0)
    pieces = recipe.tokens // recipe.sequence + recipe.held_out // recipe.sequence
    ids = generator.integers(0, config.vocab_size, (pieces, recipe.sequence), dtype=np.int32)
    held_out = recipe.held_out // recipe.sequence
    print(f"{Machine.here()}\n{options.model}, {options.threads} threads", flush=True)
    seconds["writing the text"] = write(source, recipe, options.places, options.threads)
    seconds["measuring costs"] = measure(source, ids[:held_out], options.threads)
    seconds["rounding"] = round_some(source, ids[held_out:], recipe, options.layers, options.threads)
    for part, each in seconds.items():
        print(f"{part:18} {each:7.0f} s", flush=True)
    print(f"{'together':18} {sum(seconds.values()):7.0f} s = {sum(seconds.values()) / 60:.1f} min")
    print(f"{'peak memory':18} {peak_memory() / 1e9:7.2f} GB")


if __name__ == "__main__":
    main()
