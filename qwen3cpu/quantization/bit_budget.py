"""Chooses the matrices that stay in q8: measures what each costs in q4, and spends a budget of bits.

The cost of a matrix is the KL divergence between the model in q8 and the same model with this one matrix in q4. For an
embedding model it is 1 - the cosine of the vectors. It is measured on text that is not used for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import NARROW, WIDE
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix
from qwen3cpu.quantization.divergence import log_softmax
from qwen3cpu.quantization.layer_runner import Layer, Matrices, Vectors

SCORED_EVERY: Final = 4
"""One of this many positions is compared. With all positions, logits and softmax took most of the time."""
_POSITIONS_TOGETHER: Final = 64
"""Rows of logits that are compared at a time."""


class CostMeter:
    """Measures costs layer by layer. Between two layers it holds the residual stream of the held-out text."""

    def __init__(
        self,
        config: ModelConfig,
        matrices: Matrices,
        vectors: Vectors,
        ids: NDArray[np.int32],
        *,
        threads: int,
        pooled: bool = False,
    ) -> None:
        """Take `matrices`, all in q8, and the held-out text `ids` [pieces, length].

        pooled: compare the states of the pieces' last tokens, not the logits.
        """
        self._pooled = pooled
        self._config, self._matrices, self._vectors, self._threads = config, matrices, vectors, threads
        self._length = ids.shape[1]
        self._lengths = np.full(len(ids), self._length, np.int32)
        self._whole = _native.Model(config.native(self._length), dict(matrices), dict(vectors), "f16", threads)
        self._x = self._whole.embed(ids.reshape(-1))
        self._norm = vectors["model.norm.weight"].astype(np.float64)
        self._layer = 0
        self._end = self._from(0, self._x.copy())

    def layer(self, swapped: Mapping[str, PackedMatrix]) -> dict[str, float]:
        """Return matrix of the next layer -> divergence (nats), or 1 - cosine, when only this matrix is swapped."""
        ends = {}
        for name, matrix in swapped.items():
            x = self._x.copy()
            matrices = {**self._matrices, name: matrix}
            Layer(self._config, matrices, self._vectors, self._layer, length=self._length, threads=self._threads).run(x)
            ends[name] = self._from(self._layer + 1, x)
        self._whole.run_layer(self._layer, self._lengths, self._x)
        self._layer += 1
        costs = self._turns if self._pooled else self._divergences
        return dict(zip(ends, costs(list(ends.values())), strict=True))

    def _from(self, layer: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a residual stream through the layers from this one on, in place."""
        for each in range(layer, self._config.num_hidden_layers):
            self._whole.run_layer(each, self._lengths, x)
        return x

    def _divergences(self, ends: list[NDArray[np.float32]]) -> list[float]:
        totals = np.zeros(len(ends))
        scored = np.arange(SCORED_EVERY - 1, len(self._end), SCORED_EVERY)
        for first in range(0, len(scored), _POSITIONS_TOGETHER):
            rows = scored[first : first + _POSITIONS_TOGETHER]
            p = log_softmax(self._whole.head(self._end[rows]))
            weight = np.exp(p)
            for i, end in enumerate(ends):
                q = log_softmax(self._whole.head(end[rows]))
                totals[i] += np.einsum("ij,ij->", weight, p - q, dtype=np.float64)
        return [float(total) / len(scored) for total in totals]

    def _turns(self, ends: list[NDArray[np.float32]]) -> list[float]:
        expected = self._directions(self._end)
        return [float(1 - np.einsum("ij,ij->i", expected, self._directions(end)).mean()) for end in ends]

    def _directions(self, end: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the states of the pieces' last tokens after the last norm, with length 1: [pieces, hidden_size]."""
        # The norm's division by the root mean square is left out, because the vectors are scaled to length 1.
        last = end[self._length - 1 :: self._length].astype(np.float64) * self._norm
        scaled: NDArray[np.float64] = last / np.linalg.norm(last, axis=1, keepdims=True)
        return scaled


def choose_formats(
    plan: Mapping[str, MatrixLayout], costs: Mapping[str, float], bits: float
) -> dict[str, MatrixLayout]:
    """Return a plan with as many matrices in q8 as fit into `bits` per weight, the average over all matrices.

    Matrices with the highest cost per byte are chosen first. Matrices without a cost keep their format.
    """
    budget = bits / 8 * sum(matrix.rows * matrix.cols for matrix in plan.values())
    chosen = {name: replace(layout, format=NARROW) if name in costs else layout for name, layout in plan.items()}
    used = sum(layout.bytes for layout in chosen.values())
    more = {name: _more_bytes(plan[name]) for name in costs}
    for name in sorted(costs, key=lambda name: -costs[name] / more[name]):
        if used + more[name] <= budget:
            used += more[name]
            chosen[name] = replace(plan[name], format=WIDE)
    return chosen


def _more_bytes(layout: MatrixLayout) -> int:
    return replace(layout, format=WIDE).bytes - replace(layout, format=NARROW).bytes
