"""Runs one layer of a model over the calibration text and returns the inputs of its matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import EMBEDDING, EXPERTS, LAYERS, WIDE, input_sizes, vector_lengths
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix

Matrices = Mapping[str, PackedMatrix]
Vectors = Mapping[str, NDArray[np.float32]]

CHOSEN: Final = "chosen"
"""A further output of a layer with experts: the chosen experts of each token, int32 [tokens, chosen], ascending."""


class Layer:
    """One layer of a model, run as a native model of one layer."""

    def __init__(
        self,
        config: ModelConfig,
        matrices: Matrices,
        vectors: Vectors,
        layer: int,
        *,
        length: int,
        threads: int,
        together: int = 2048,
    ) -> None:
        """Make the layer from `matrices` and `vectors`, by their names in the model. Those of the layer are enough.

        length: tokens of a sequence. together: tokens of a pass, at least one sequence; the workspace grows with them.
        """
        self._together = together
        alone = replace(config.alone(layer, _native.TILE_ROWS), tie_word_embeddings=True)
        prefix = f"{LAYERS}{layer}."
        # The tensors outside the layer are never used.
        embedding = MatrixLayout(WIDE, _native.TILE_ROWS, config.hidden_size)
        own = {EMBEDDING: embedding.with_data(embedding.room())}
        for name, matrix in matrices.items():
            if name.startswith(prefix):
                own[f"{LAYERS}0.{name.removeprefix(prefix)}"] = matrix
        norms = {
            name: vectors[name.replace(f"{LAYERS}0.", prefix)] if name.startswith(LAYERS) else np.ones(n, np.float32)
            for name, n in vector_lengths(alone).items()
        }
        self._native = _native.Model(alone.native(length), dict(own), norms, "f16", threads)
        self._length = length
        self._sizes = input_sizes(config)
        self._choices = config.experts.chosen if config.experts else 0

    def run(self, x: NDArray[np.float32]) -> None:
        """Take the residual stream x [sequences * length, hidden_size] through the layer, in place."""
        for _ in self.advance(x):
            pass

    def inputs(self, x: NDArray[np.float32], *names: str) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the inputs of these names (`matrices_by_input` in tensors.py), or CHOSEN, some sequences at a time.

        Each has a row for a token. EXPERTS has a row for each chosen expert of a token, one after another. `x` is not
        changed.
        """
        for part in self._parts(x):
            yield self._show(part.copy(), names)

    def advance(self, x: NDArray[np.float32], *names: str) -> Iterator[dict[str, NDArray[Any]]]:
        """As `inputs`, and also take x through the layer, in place."""
        for part in self._parts(x):
            yield self._show(part, names)

    def _show(self, part: NDArray[np.float32], names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        shown = {name: self._room(name, len(part)) for name in names}
        self._native.run_layer(0, np.full(len(part) // self._length, self._length, np.int32), part, **shown)
        return shown

    def _room(self, name: str, tokens: int) -> NDArray[Any]:
        if name == CHOSEN:
            return np.empty((tokens, self._choices), np.int32)
        rows = tokens * self._choices if name == EXPERTS else tokens
        return np.empty((rows, self._sizes[name]), np.float32)

    def _parts(self, x: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        step = max(self._together // self._length, 1) * self._length
        for first in range(0, len(x), step):
            yield x[first : first + step]
