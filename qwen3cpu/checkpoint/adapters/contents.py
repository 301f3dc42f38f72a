"""The changes that an adapter makes, independent of its file format."""

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
    """The change of a matrix W [rows, cols] to `W + scale * b a`. DoRA then sets the norm of each row.

    For the embedding, W is its transpose [hidden, vocab].

    Attributes:
        a: float32 [rank, cols].
        b: float32 [rows, rank].
        scale: the factor on `b a`.
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
        path: the folder or file it was read from.
        identity: SHA-256 of its files, 64 hex digits.
        low_rank: name of the matrix (tensors.py) -> its change, in the order of the model's tensors. A tied head is
            called HEAD too.
        whole: name -> tensor that replaces the model's, as stored: matrices and norms.
        made_for: the model that the adapter names as its base. None: it names none.
    """

    path: Path
    identity: str
    low_rank: Mapping[str, LowRank]
    whole: Mapping[str, NDArray[Any]]
    made_for: str | None = None


class ModelTensors:
    """Checks an adapter's tensors against those of the model.

    Args:
        config: of the model.
        path: of the adapter, for messages.
        made_for: the model that the adapter names as its base, for messages.
    """

    def __init__(self, config: ModelConfig, path: Path, made_for: str | None = None) -> None:
        self._shapes = {tensor.name: tensor.shape for tensor in tensors_of(config)}
        self._shapes.setdefault(HEAD, self._shapes[EMBEDDING])
        self._path = path
        self.another_model = "an adapter of another model" + ("" if made_for is None else f" (of {brief(made_for)})")
        """The likely reason when something does not fit, for messages."""

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __iter__(self) -> Any:
        return iter(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor of the model."""
        return self._shapes[name]

    def is_matrix(self, name: str) -> bool:
        """Whether the model has a matrix of this name."""
        return len(self._shapes.get(name, ())) == 2

    def low_rank(
        self, name: str, a: NDArray[Any], b: NDArray[Any], scale: float, magnitude: NDArray[Any] | None = None
    ) -> LowRank:
        """Make the change of a matrix from stored arrays. Raises AdapterError for arrays that do not fit the model."""
        # The change of the embedding is that of its transpose, as in PEFT.
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
        """Check a stored tensor that replaces the model's. AdapterError: another shape, or a value is not finite."""
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
