"""Calibration: takes a model in q8 and returns its matrices, rounded to q4 with regard to a text, or kept in q8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import NARROW, tensors_of_layer
from qwen3cpu.engine.engine import Engine
from qwen3cpu.errors import ArgumentError
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix, plan_matrices
from qwen3cpu.quantization.bit_budget import CostMeter, choose_formats
from qwen3cpu.quantization.calibration_source import Source
from qwen3cpu.quantization.own_text import write_text
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.quantization.round_layers import LayerRounder
from qwen3cpu.system.progress_bar import Progress

PASSAGE: Final = 64
"""Most tokens of a piece for an embedding model. Pieces are short because each gives only one vector to compare."""


@dataclass(frozen=True)
class Calibrated:
    """A model that is being calibrated.

    Attributes:
        plan: format and shape of each of its matrices.
        costs: matrix of a layer -> its cost in q4 (nats; bit_budget.py).
        layers: yields the matrices of one layer after another, rounded on demand.
    """

    plan: dict[str, MatrixLayout]
    costs: dict[str, float]
    layers: Iterator[dict[str, PackedMatrix]]


def calibrate(source: Source, recipe: Recipe, *, threads: int, progress: Progress) -> Calibrated:
    """Round a model to q4 for a text: the recipe's, or one that it writes. Raises ArgumentError if it is too short."""
    if source.end is not None:
        recipe = replace(recipe, sequence=min(recipe.sequence, PASSAGE))
    plan = plan_matrices(source.config, NARROW)
    held_out = 0 if recipe.bits is None else max(recipe.held_out // recipe.sequence, 1)
    if recipe.text is None:
        ids = own_text(source, recipe, held_out, threads=threads, progress=progress)
    else:
        ids = given_text(source, recipe, recipe.text, held_out)
    if source.end is not None:
        ids[:, -1] = source.end
    costs: dict[str, float] = {}
    if recipe.bits is not None:
        costs = measure_costs(source, ids[:held_out], threads=threads, progress=progress)
        plan = choose_formats(plan, costs, recipe.bits)
    rounder = LayerRounder(source, plan, recipe, threads, progress)
    return Calibrated(plan, costs, rounder.run(ids[held_out:]))


def measure_costs(source: Source, ids: NDArray[np.int32], *, threads: int, progress: Progress) -> dict[str, float]:
    """Measure what each matrix of the layers costs in q4, by name. Experts, most of a model's bytes, stay in q4."""
    pooled = source.end is not None
    meter = CostMeter(source.config, source.matrices, source.vectors, ids, threads=threads, pooled=pooled)
    costs: dict[str, float] = {}
    progress.start("Measuring", source.config.num_hidden_layers, "layers")
    for layer in range(source.config.num_hidden_layers):
        costs |= meter.layer(in_q4(source, layer, threads=threads))
        progress.advance(1)
    return costs


def in_q4(source: Source, layer: int, *, threads: int) -> dict[str, PackedMatrix]:
    """Round the matrices of a layer to q4, each by itself."""
    rounded = {}
    for tensor in tensors_of_layer(source.config, layer):
        if tensor.row.role != "projection" or tensor.copy is not None:
            continue
        name = tensor.name
        layout = replace(source.matrices[name].layout, format=NARROW)
        out = layout.room()
        _native.pack_into(layout.format, source.original(name), out, layout.rows, 0, threads)
        rounded[name] = layout.with_data(out)
    return rounded


def own_text(source: Source, recipe: Recipe, more: int, *, threads: int, progress: Progress) -> NDArray[np.int32]:
    """Let the model in q8 write the recipe's number of tokens and `more` pieces: ids [pieces, recipe.sequence]."""
    native = source.whole(recipe.sequence, threads)
    engine = Engine(native, vocab_size=source.config.vocab_size, context=recipe.sequence)
    return write_text(
        engine,
        token_limit=source.token_limit,
        pieces=max(recipe.tokens // recipe.sequence, 1) + more,
        length=recipe.sequence,
        seed=recipe.seed,
        progress=progress,
    )


def given_text(source: Source, recipe: Recipe, text: str, more: int) -> NDArray[np.int32]:
    """Cut a text into ids [pieces, recipe.sequence]: at most the recipe's number of tokens and `more` pieces."""
    ids = source.encode(text)
    pieces = min(len(ids) // recipe.sequence, max(recipe.tokens // recipe.sequence, 1) + more)
    if pieces <= more:
        least = (more + 1) * recipe.sequence
        raise ArgumentError(f"text: expected at least {least} tokens to calibrate with, found {len(ids)}")
    return np.array(ids[: pieces * recipe.sequence], np.int32).reshape(pieces, recipe.sequence)
