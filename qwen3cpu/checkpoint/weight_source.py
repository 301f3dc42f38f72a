"""What every reader of a checkpoint offers: the weights of a model, read piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.dtypes import as_float32


class WeightSource(Protocol):
    """Weights that can be packed: FolderWeights (hf_folder.py), which says what is what, or GgufWeights."""

    folder: Path
    matrices: dict[str, tuple[int, int]]
    vectors: dict[str, int]
    stored_bytes: int

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]: ...
    def drop_rows(self, name: str, first: int, last: int) -> None: ...
    def will_need(self, name: str) -> None: ...
    def vector(self, name: str) -> NDArray[np.float32]: ...
    def files(self) -> dict[str, Path]: ...
    def fingerprint(self) -> str: ...


def read_vectors(weights: WeightSource) -> dict[str, NDArray[np.float32]]:
    """Every norm weight and bias of the model, float32."""
    return {name: weights.vector(name) for name in weights.vectors}


def original_matrix(weights: WeightSource, name: str, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
    """A matrix [rows, cols] as it is stored, or its rows [first, last), in float32."""
    return as_float32(weights.rows(name, first, weights.matrices[name][0] if last is None else last))
