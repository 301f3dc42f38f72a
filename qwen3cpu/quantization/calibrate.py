"""Calibration: takes a model in q8 and returns its matrices, rounded to q4 by a text or kept in q8."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import NARROW, input_sizes, matrices_by_input
from qwen3cpu.engine.engine import Engine
from qwen3cpu.errors import ArgumentError
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix, plan_matrices
from qwen3cpu.quantization.bit_budget import CostMeter, choose_formats
from qwen3cpu.quantization.gptq import InputMoments, round_matrix, second_moments
from qwen3cpu.quantization.layer_runner import Layer, Matrices, Vectors
from qwen3cpu.quantization.own_text import write_text
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.system.progress_bar import Progress

PASSAGE: Final = 64
"""Tokens of a piece for an embedding model, at most: each gives one vector to compare."""


@dataclass(frozen=True)
class Source:
    """A model that is to be calibrated.

    Attributes:
        config: of the model.
        matrices: all of them, in q8.
        vectors: norms and biases.
        token_limit: ids that the tokenizer knows lie below it.
        original: takes the name of a matrix and returns its values before packing, float32 [rows, cols].
        encode: gives the ids of a text.
        end: the end token of an embedding model, whose state is a text's vector; None for other models.
    """

    config: ModelConfig
    matrices: Matrices
    vectors: Vectors
    token_limit: int
    original: Callable[[str], NDArray[np.float32]]
    encode: Callable[[str], list[int]]
    end: int | None = None


@dataclass(frozen=True)
class Calibrated:
    """The rounded matrices of a model, and what each matrix of its layers costs in q4 (nats; bit_budget.py)."""

    matrices: dict[str, PackedMatrix]
    costs: dict[str, float]

    def plan(self) -> dict[str, MatrixLayout]:
        """Format and shape of each."""
        return {name: matrix.layout for name, matrix in self.matrices.items()}


def calibrate(source: Source, recipe: Recipe, *, threads: int, progress: Progress) -> Calibrated:
    """Round a model to q4 by a text that it writes, or by the recipe's.

    Raises ArgumentError when that is too short, and for a model with experts.
    """
    if source.config.experts is not None:
        raise ArgumentError(
            "calibrate: expected a dense model, found one with experts; `quantize` without --calibrate rounds it"
        )
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
    matrices = round_layers(source, plan, ids[held_out:], recipe, threads=threads, progress=progress)
    return Calibrated(matrices, costs)


def measure_costs(source: Source, ids: NDArray[np.int32], *, threads: int, progress: Progress) -> dict[str, float]:
    """What each matrix of the layers costs in q4, by its name."""
    pooled = source.end is not None
    meter = CostMeter(source.config, source.matrices, source.vectors, ids, threads=threads, pooled=pooled)
    costs: dict[str, float] = {}
    progress.start("Measuring", source.config.num_hidden_layers, "layers")
    for layer in range(source.config.num_hidden_layers):
        costs |= meter.layer(in_q4(source, layer, threads=threads))
        progress.advance(1)
    return costs


def in_q4(source: Source, layer: int, *, threads: int) -> dict[str, PackedMatrix]:
    """The matrices of a layer, rounded to q4 each by itself."""
    rounded = {}
    for name in chain.from_iterable(matrices_by_input(source.config, layer).values()):
        layout = replace(source.matrices[name].layout, format=NARROW)
        out = layout.room()
        _native.pack_into(layout.format, source.original(name), out, layout.rows, 0, threads)
        rounded[name] = layout.with_data(out)
    return rounded


def own_text(source: Source, recipe: Recipe, more: int, *, threads: int, progress: Progress) -> NDArray[np.int32]:
    """Ids [pieces, recipe.sequence] that the model in q8 writes: the text of the recipe and `more` pieces."""
    native = whole_model(source, recipe.sequence, threads)
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
    """Ids [pieces, recipe.sequence] of a text, of its beginning when it is longer than the recipe and `more` pieces."""
    ids = source.encode(text)
    pieces = min(len(ids) // recipe.sequence, max(recipe.tokens // recipe.sequence, 1) + more)
    if pieces <= more:
        least = (more + 1) * recipe.sequence
        raise ArgumentError(f"text: expected at least {least} tokens to calibrate with, found {len(ids)}")
    return np.array(ids[: pieces * recipe.sequence], np.int32).reshape(pieces, recipe.sequence)


def round_layers(
    source: Source,
    plan: Mapping[str, MatrixLayout],
    ids: NDArray[np.int32],
    recipe: Recipe,
    *,
    threads: int,
    progress: Progress,
) -> dict[str, PackedMatrix]:
    """Round the matrices of all layers in the order of the forward pass.

    The inputs of each come from a pass through those that were rounded before it.
    """
    matrices = dict(source.matrices)
    x = whole_model(source, recipe.sequence, threads).embed(ids.reshape(-1))
    progress.start("Rounding", source.config.num_hidden_layers * len(input_sizes(source.config)), "steps")
    for layer in range(source.config.num_hidden_layers):
        for shown, readers in matrices_by_input(source.config, layer).items():
            names = [name for name in readers if plan[name].format == NARROW]
            if names:
                runner = Layer(source.config, matrices, source.vectors, layer, length=recipe.sequence, threads=threads)
                moments = InputMoments(_moments(runner, x, shown), recipe.rounding)
                for name in names:
                    out = plan[name].room()
                    round_matrix(source.original(name), moments, out, threads=threads)
                    matrices[name] = plan[name].with_data(out)
            progress.advance(1)
        Layer(source.config, matrices, source.vectors, layer, length=recipe.sequence, threads=threads).run(x)
    return matrices


def _moments(layer: Layer, x: NDArray[np.float32], shown: str) -> NDArray[np.float32]:
    total = None
    for inputs in layer.inputs(x, shown):
        total = second_moments(inputs[shown], total)
    assert total is not None
    return total


def whole_model(source: Source, length: int, threads: int) -> _native.Model:
    """The model in q8, for sequences of `length` positions."""
    return _native.Model(source.config.native(length), dict(source.matrices), dict(source.vectors), "f16", threads)
