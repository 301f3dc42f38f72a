"""Packs a model as q4 with GPTQ on random tokens: what `quant="q4"` does without calibration.

Each layer runs once, in q8, over a few sequences of random tokens. The second moments of its inputs tell how other
columns compensate for the rounding of one (gptq.py). Moments are kept only within blocks of columns, which saves time
and memory. Random tokens are good enough, because each channel of the inputs has about the same size as for text. They
give two thirds of the gain of calibration with text (docs/quality.md).

The engine computes all sums in a fixed order, so that every machine packs the same bytes.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import (
    EMBEDDING,
    EXPERTS,
    NARROW,
    WIDE,
    matrices_by_input,
    tensors_of,
    tensors_of_layer,
)
from qwen3cpu.checkpoint.weight_source import WeightSource, original_matrix
from qwen3cpu.packed.matrix import MatrixLayout
from qwen3cpu.quantization.gptq import Rounding, column_order, damped
from qwen3cpu.quantization.layer_runner import Layer
from qwen3cpu.quantization.pack_matrix import pack_matrix
from qwen3cpu.system.progress_bar import Progress

TOKENS: Final = 2048
SEQUENCE: Final = 128  # tokens
TOGETHER: Final = 256  # tokens of a pass; few, so that packing needs little memory beside the weights
BLOCK: Final = 192  # columns whose moments are kept together
ROUNDING: Final = Rounding(damping=0.05)
_SEED: Final = 0

Block = tuple[NDArray[np.int32], NDArray[np.float32]]
"""(its columns in the order of rounding, the factor of its moments in this order)."""


class QuickPacker:
    """Packs the matrices of a model as q4, one after another in the order of the forward pass.

    All matrices of a layer are read when its first matrix is packed. Each is read again when it is packed itself.
    """

    def __init__(self, weights: WeightSource, config: ModelConfig, *, threads: int, progress: Progress) -> None:
        self._weights, self._config, self._threads, self._progress = weights, config, threads, progress
        self._tensors = {tensor.name: tensor for tensor in tensors_of(config)}
        self._length = min(SEQUENCE, config.max_position_embeddings)
        self._layer = -1
        self._x = np.empty((0, config.hidden_size), np.float32)
        self._moments: dict[str, NDArray[np.float32]] = {}
        self._blocks: dict[str, list[Block] | None] = {}

    def pack(self, name: str, layout: MatrixLayout, out: NDArray[np.uint8]) -> None:
        """Pack one matrix into out, uint8 [layout.bytes]. Raises CheckpointError for a weight that is not finite."""
        if name == EMBEDDING:
            self._x = self._random_tokens()
        blocks = self._blocks_of(name) if layout.format == NARROW else None
        if blocks is None:
            pack_matrix(self._weights, name, layout, out, threads=self._threads, progress=self._progress)
            return
        weights = self._weights.rows(name, 0, layout.rows)
        _native.start_rounding(weights, out, self._threads)
        for places, factor in blocks:
            _native.round_columns(weights, places, places, factor, out, layout.cols, None, self._threads)
        self._progress.advance(weights.nbytes)
        del weights
        self._weights.drop_rows(name, 0, layout.rows)

    def _blocks_of(self, name: str) -> list[Block] | None:
        """Return how to round a matrix. None: plain rounding, for experts' down projections, matrices outside the
        layers, and inputs that overflow.
        """
        tensor = self._tensors[name]
        shown = tensor.row.reads
        if tensor.layer is None or shown is None:
            return None
        while self._layer < tensor.layer:
            self._enter(self._layer + 1)
        if shown == EXPERTS:
            return None
        if shown not in self._blocks:
            self._blocks[shown] = _factors(self._moments.pop(shown), tensor.shape[1], self._threads)
        return self._blocks[shown]

    def _enter(self, layer: int) -> None:
        """Run the next layer: collect the moments of its inputs and take the residual stream through it."""
        matrices = {}
        readers = matrices_by_input(self._config, layer)
        for name in chain.from_iterable(readers.values()):
            tensor = self._tensors[name]
            layout = MatrixLayout(tensor.format(WIDE, self._config), *tensor.shape)
            out = layout.room()
            pack_matrix(self._weights, name, layout, out, threads=self._threads, progress=None)
            matrices[name] = layout.with_data(out)
        norms = [tensor.name for tensor in tensors_of_layer(self._config, layer) if not tensor.is_matrix]
        vectors = {name: self._weights.vector(name) for name in norms}
        runner = Layer(
            self._config, matrices, vectors, layer, length=self._length, threads=self._threads, together=TOGETHER
        )
        self._moments, self._blocks, self._layer = {}, {}, layer
        for inputs in runner.advance(self._x, *(shown for shown in readers if shown != EXPERTS)):
            for shown, x in inputs.items():
                if shown not in self._moments:
                    self._moments[shown] = np.zeros((-(-x.shape[1] // BLOCK), BLOCK, BLOCK), np.float32)
                _native.add_block_moments(x, self._moments[shown], self._threads)

    def _random_tokens(self) -> NDArray[np.float32]:
        """Return the residual stream before the first layer, [tokens, hidden_size], for random tokens."""
        tokens = TOKENS // self._length * self._length
        ids = np.random.PCG64(_SEED).random_raw(tokens) % np.uint64(self._config.vocab_size)
        if self._config.vocab_size <= tokens:
            table = original_matrix(self._weights, EMBEDDING)
            shown: NDArray[np.float32] = table[ids]
            return shown
        rows = [original_matrix(self._weights, EMBEDDING, int(i), int(i) + 1) for i in ids]
        self._weights.drop_rows(EMBEDDING, 0, self._config.vocab_size)
        return np.concatenate(rows)


def _factors(moments: NDArray[np.float32], cols: int, threads: int) -> list[Block] | None:
    """Factorise moments [blocks, BLOCK, BLOCK] (upper triangles) of inputs with `cols` columns. None: they overflow."""
    if not np.isfinite(moments).all():
        return None
    places, matrices = [], []
    for first, upper in zip(range(0, cols, BLOCK), moments, strict=True):
        own = min(BLOCK, cols - first)
        triangle = np.triu(upper[:own, :own])
        symmetric = triangle + np.triu(triangle, 1).T
        order = column_order(symmetric.diagonal(), ROUNDING)
        places.append(order + np.int32(first))
        matrices.append(damped(symmetric, order, ROUNDING.damping))
    # In one call, so that threads share the blocks. The last block may be smaller.
    factors = [*_native.invert_factors(np.stack(matrices[:-1]), threads)] if len(matrices) > 1 else []
    factors.append(_native.invert_factors(matrices[-1][None], threads)[0])
    return list(zip(places, factors, strict=True))
