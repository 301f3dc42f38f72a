"""What an adapter changes, whatever its file looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.dtypes import as_float32
from qwen3cpu.checkpoint.json_fields import brief
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, tensors_of
from qwen3cpu.errors import AdapterError

MOST_RANK: Final = 256


@dataclass(frozen=True)
class LowRank:
    """The change of a matrix W [rows, cols]: W + scale * b a, or with DoRA the same with the norm of each row set.

    For the embedding W is its transpose, [hidden, vocab].

    Attributes:
        a: float32 [rank, cols].
        b: float32 [rows, rank].
        scale: what multiplies b a.
        magnitude: float32 [rows], the norms of DoRA. None: no DoRA.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    scale: float
    magnitude: NDArray[np.float32] | None = None

    @property
    def rank(self) -> int:
        """Rows of a."""
        return len(self.a)


@dataclass(frozen=True)
class AdapterContents:
    """One adapter.

    Attributes:
        path: where it was read.
        identity: SHA-256 of its files, 64 hex digits.
        low_rank: by the name of the matrix (tensors.py), in the order of the model's tensors. The head of a model that
            has none of its own is HEAD too.
        whole: tensors that stand in the place of the model's, by name: matrices and norms, as they are stored.
        made_for: the model that it names as its own. None: it names none.
    """

    path: Path
    identity: str
    low_rank: Mapping[str, LowRank]
    whole: Mapping[str, NDArray[Any]]
    made_for: str | None = None


class ModelTensors:
    """The tensors of a model that an adapter may change, for checks.

    Args:
        config: of the model.
        path: of the adapter, for messages.
        made_for: the model that the adapter names as its own, for messages too.
    """

    def __init__(self, config: ModelConfig, path: Path, made_for: str | None = None) -> None:
        self._shapes = {tensor.name: tensor.shape for tensor in tensors_of(config)}
        self._shapes.setdefault(HEAD, self._shapes[EMBEDDING])
        self._path = path
        self.another_model = "an adapter of another model" + ("" if made_for is None else f" (of {brief(made_for)})")
        """What is likely when something does not fit."""

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __iter__(self) -> Any:
        return iter(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor of the model."""
        return self._shapes[name]

    def is_matrix(self, name: str) -> bool:
        """Whether the model has a matrix of this name."""
        return len(self._shapes.get(name, ())) == 2

    def low_rank(
        self, name: str, a: NDArray[Any], b: NDArray[Any], scale: float, magnitude: NDArray[Any] | None = None
    ) -> LowRank:
        """The change of a matrix by arrays as they are stored. AdapterError for what does not fit the model."""
        # The embedding's are those of its transpose, as PEFT has them.
        rows, cols = reversed(self._shapes[name]) if name == EMBEDDING else self._shapes[name]
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != cols or b.shape[0] != rows or a.shape[0] != b.shape[1]:
            raise AdapterError(
                f"{self._path}: {name}: expected A of shape [rank, {cols}] and B of shape [{rows}, rank] for this "
                f"model, found {list(a.shape)} and {list(b.shape)}: {self.another_model}"
            )
        if not 1 <= a.shape[0] <= MOST_RANK:
            raise AdapterError(f"{self._path}: {name}: expected a rank from 1 to {MOST_RANK}, found {a.shape[0]}")
        if magnitude is not None:
            magnitude = self._finite(name, magnitude.reshape(-1))
            if magnitude.shape != (rows,):
                raise AdapterError(
                    f"{self._path}: {name}: expected a magnitude vector of {rows}, found {list(magnitude.shape)}"
                )
        return LowRank(self._finite(name, a), self._finite(name, b), scale, magnitude)

    def whole(self, name: str, stored: NDArray[Any]) -> NDArray[Any]:
        """A tensor in the place of the model's. AdapterError for another shape."""
        if stored.shape != self._shapes[name]:
            raise AdapterError(
                f"{self._path}: {name}: expected shape {list(self._shapes[name])}, found {list(stored.shape)}: "
                f"{self.another_model}, or tokens were added"
            )
        self._finite(name, stored)
        return stored

    def _finite(self, name: str, stored: NDArray[Any]) -> NDArray[np.float32]:
        values = as_float32(stored)
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            raise AdapterError(
                f"{self._path}: {name}: expected finite numbers, found {values.reshape(-1)[wrong[0]]} at {wrong[0]}"
            )
        return values
