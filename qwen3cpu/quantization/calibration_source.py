"""The model that calibration works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.quantization.layer_runner import Matrices, Vectors


@dataclass(frozen=True)
class Source:
    """Everything that calibration needs of a model.

    Attributes:
        config: of the model.
        matrices: all matrices, in q8.
        vectors: norms and biases.
        token_limit: all ids of the tokenizer are below it.
        original: takes the name of a matrix and returns its values before packing, float32 [rows, cols].
        encode: returns the ids of a text.
        end: the end token of an embedding model, whose state is a text's vector; None for other models.
    """

    config: ModelConfig
    matrices: Matrices
    vectors: Vectors
    token_limit: int
    original: Callable[[str], NDArray[np.float32]]
    encode: Callable[[str], list[int]]
    end: int | None = None

    def whole(self, length: int, threads: int) -> _native.Model:
        """Make the model in q8, for sequences of `length` positions."""
        return _native.Model(self.config.native(length), dict(self.matrices), dict(self.vectors), "f16", threads)
