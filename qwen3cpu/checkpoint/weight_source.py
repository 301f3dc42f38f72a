"""The interface of all readers of checkpoints: the weights of a model, read piece by piece, and its texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.dtypes import as_float32
from qwen3cpu.checkpoint.model_texts import ModelTexts

_KEPT_BITS: Final = 4
"""Most bits of numbers whose groups a format of this package can keep unchanged (tensors.py, KEEPING)."""


class WeightSource(Protocol):
    """The weights of a model in a checkpoint's files, checked against its configuration.

    Attributes:
        path: the folder or file.
        matrices: name -> (rows, cols), with the names and the order of tensors.py.
        vectors: name -> length, likewise.
        stored_bytes: bytes of all matrices as `rows` returns them.
    """

    path: Path
    matrices: dict[str, tuple[int, int]]
    vectors: dict[str, int]
    stored_bytes: int

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Return rows [first, last), C-contiguous and aligned: float32, float16, or uint16 with bfloat16 bits."""

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Remove the pages of rows that will not be read again from this process's memory."""

    def will_need(self, name: str) -> None:
        """Ask the system to read a tensor ahead."""

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return a norm weight or bias, a float32 copy. Raises CheckpointError when a value is not finite."""

    def score_head(self) -> NDArray[np.float32]:
        """Return a reranker's own head, float32 [1 or 2, hidden_size]. Raises CheckpointError if it is missing."""

    def files(self) -> dict[str, Path]:
        """Return name -> path of every weight file."""

    def fingerprint(self) -> str:
        """Return 64 hex digits that change when the files do. The weights themselves are not read for it."""


class Groups(NamedTuple):
    """Some rows of a matrix that is quantised in groups of neighbouring columns: `w = scale * n + minimum`.

    Attributes:
        numbers: the n, uint8 [rows, cols].
        scales, minimums: float32 [rows, cols / group size].
    """

    numbers: NDArray[np.uint8]
    scales: NDArray[np.float32]
    minimums: NDArray[np.float32]


class FolderSource(WeightSource, Protocol):
    """The weights of a model folder. preferred_quant: as in OpenedModel. config: tied or not as the files are."""

    config: ModelConfig
    preferred_quant: str


@runtime_checkable
class GroupSource(WeightSource, Protocol):
    """A source that can also return the quantised numbers of its groups."""

    def group_size(self, name: str) -> int | None:
        """Return the columns of a group; None for a matrix that `groups` cannot return."""

    def group_bits(self, name: str) -> int:
        """Return the bits of a number in a group, for a matrix with groups."""

    def groups(self, name: str, first: int, last: int) -> Groups:
        """Return rows [first, last) as they were stored.

        `rows` rounds `scale * n + minimum` as the maker's library does; these are the values before that rounding.
        Raises CheckpointError when a scale or minimum is not finite.
        """


class OpenedModel(NamedTuple):
    """A model that a reader (readers/registry.py) has opened.

    Attributes:
        config: shapes and constants.
        weights: the weights.
        read_texts: reads everything except the weights.
        texts_in_fingerprint: whether the weights' fingerprint covers the texts, so that a packed file with the same
            fingerprint has the same texts.
        preferred_quant: the format that suits this model best, used when the user names none.
    """

    config: ModelConfig
    weights: WeightSource
    read_texts: Callable[[], ModelTexts]
    texts_in_fingerprint: bool
    preferred_quant: str


def kept_group(weights: WeightSource, name: str) -> int | None:
    """Return the columns of a group of a matrix that is stored in at most sixteen levels; None for other matrices."""
    if not isinstance(weights, GroupSource) or weights.group_size(name) is None:
        return None
    return weights.group_size(name) if weights.group_bits(name) <= _KEPT_BITS else None


def read_vectors(weights: WeightSource) -> dict[str, NDArray[np.float32]]:
    """Read every norm weight and bias of the model, float32."""
    return {name: weights.vector(name) for name in weights.vectors}


def original_matrix(weights: WeightSource, name: str, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
    """Read a matrix [rows, cols], or its rows [first, last), as float32 without any further rounding."""
    return as_float32(weights.rows(name, first, weights.matrices[name][0] if last is None else last))
