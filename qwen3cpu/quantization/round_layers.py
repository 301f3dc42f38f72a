"""Rounds the matrices of all layers to q4, each with regard to its inputs, in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.tensors import NARROW, Tensor, tensors_of_layer
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix
from qwen3cpu.quantization.calibration_source import Source
from qwen3cpu.quantization.gptq import InputMoments, round_matrix, second_moments, sum_of_moments, with_share
from qwen3cpu.quantization.layer_runner import CHOSEN, Layer
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.system.progress_bar import Progress


@dataclass(frozen=True)
class LayerRounder:
    """Rounds the layers of a model one after another.

    Attributes:
        source: the model in q8.
        plan: the formats that the matrices will have.
        recipe: settings.
        threads: for passes and rounding.
        progress: advances by one for each matrix.
    """

    source: Source
    plan: Mapping[str, MatrixLayout]
    recipe: Recipe
    threads: int
    progress: Progress

    def run(self, ids: NDArray[np.int32]) -> Iterator[dict[str, PackedMatrix]]:
        """Yield the matrices of each layer in turn. Those in q4 are rounded with regard to ids [pieces, length].

        The inputs of each matrix come from a pass through the matrices that are already rounded.
        """
        layers = range(self.source.config.num_hidden_layers)
        x = self.source.whole(self.recipe.sequence, self.threads).embed(ids.reshape(-1))
        self.progress.start("Rounding", sum(len(self._narrow(layer)) for layer in layers), "matrices")
        for layer in layers:
            yield self._round(layer, x)

    def _narrow(self, layer: int) -> list[Tensor]:
        """Return the matrices of a layer that are rounded to q4."""
        tensors = tensors_of_layer(self.source.config, layer)
        return [tensor for tensor in tensors if tensor.is_matrix and self.plan[tensor.name].format == NARROW]

    def _round(self, layer: int, x: NDArray[np.float32]) -> dict[str, PackedMatrix]:
        """Round one layer and take the residual stream x through it, in place."""
        names = [tensor.name for tensor in tensors_of_layer(self.source.config, layer) if tensor.is_matrix]
        matrices = {name: self.source.matrices[name] for name in names}
        # Input -> expert (None: a dense matrix) -> its matrices that read the input.
        readers: dict[str, dict[int | None, list[str]]] = {}
        for tensor in self._narrow(layer):
            assert tensor.row.reads is not None
            readers.setdefault(tensor.row.reads, {}).setdefault(tensor.copy, []).append(tensor.name)
        rounding = self.recipe.rounding
        for shown, by_expert in readers.items():
            inputs = Inputs(self._layer(layer, matrices), x, shown, routed=None not in by_expert)
            for expert, read_by in by_expert.items():
                moments = InputMoments(inputs.moments(expert, rounding.shared), rounding)
                for name in read_by:
                    out = self.plan[name].room()
                    round_matrix(self.source.original(name), moments, out, threads=self.threads)
                    matrices[name] = self.plan[name].with_data(out)
                    self.progress.advance(1)
        self._layer(layer, matrices).run(x)
        return matrices

    def _layer(self, layer: int, matrices: Mapping[str, PackedMatrix]) -> Layer:
        source = self.source
        return Layer(source.config, matrices, source.vectors, layer, length=self.recipe.sequence, threads=self.threads)


class Inputs:
    """One input of a layer over the whole text. routed: its readers are experts, each of which reads some rows."""

    def __init__(self, layer: Layer, x: NDArray[np.float32], shown: str, *, routed: bool) -> None:
        if not routed:
            self._all = sum_of_moments(part[shown] for part in layer.inputs(x, shown))
            return
        parts = list(layer.inputs(x, shown, CHOSEN))
        self._rows = np.concatenate([part[shown] for part in parts])
        self._choices = np.concatenate([part[CHOSEN] for part in parts]).reshape(-1)
        self._all = second_moments(self._rows)

    def moments(self, expert: int | None, shared: float = 0) -> NDArray[np.float32]:
        """Return X'X of the rows that an expert reads, plus `shared` average rows for each column. None: all rows."""
        if expert is None:
            return self._all
        rows = len(self._rows)
        # All chosen experts read a token's row. In the input of down projections, each expert has a row of its own.
        readers_of_a_row = len(self._choices) // rows
        own = self._rows[np.flatnonzero(self._choices == expert) // readers_of_a_row]
        return with_share(second_moments(own), self._all, rows, shared)
