"""What every reader of a checkpoint offers: the weights of a model, read piece by piece, and its texts."""

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
"""Of numbers whose groups a format of ours keeps as they are (tensors.py, KEEPING)."""


class WeightSource(Protocol):
    """The weights of a model in somebody else's files, checked against its configuration.

    path: the folder or file. matrices: name -> (rows, cols), vectors: name -> length, by the names and in the order of
    tensors.py. stored_bytes: of all matrices as `rows` gives them.
    """

    path: Path
    matrices: dict[str, tuple[int, int]]
    vectors: dict[str, int]
    stored_bytes: int

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last) of a matrix: C-contiguous aligned float32, float16, or uint16 with bfloat16 bits."""

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Take the pages of rows that are done out of this process's memory."""

    def will_need(self, name: str) -> None:
        """Let the system read a tensor ahead."""

    def vector(self, name: str) -> NDArray[np.float32]:
        """A norm weight or bias as float32, a copy. Raises CheckpointError when a value is not finite."""

    def score_head(self) -> NDArray[np.float32]:
        """A reranker's own head, float32 [1 or 2, hidden_size]. Raises CheckpointError when there is none."""

    def files(self) -> dict[str, Path]:
        """Name -> path of every weight file."""

    def fingerprint(self) -> str:
        """64 hex digits that change when the files do. The weights themselves are not read for it."""


class Groups(NamedTuple):
    """Some rows of a matrix whose weights stand in groups of neighbouring columns: w = scale * n + minimum.

    numbers: uint8 [rows, cols]. scales, minimums: float32 [rows, cols / group size].
    """

    numbers: NDArray[np.uint8]
    scales: NDArray[np.float32]
    minimums: NDArray[np.float32]


class FolderSource(WeightSource, Protocol):
    """The weights of a model folder. preferred_quant: as in OpenedModel. config: with the head that is in the files."""

    config: ModelConfig
    preferred_quant: str


@runtime_checkable
class GroupSource(WeightSource, Protocol):
    """A source that also hands out the numbers that its groups were stored as."""

    def group_size(self, name: str) -> int | None:
        """Columns of a group; None for a matrix that `groups` cannot give."""

    def group_bits(self, name: str) -> int:
        """Bits of a number in a group, where there are groups."""

    def groups(self, name: str, first: int, last: int) -> Groups:
        """Rows [first, last) as they were stored.

        `rows` rounds scale * n + minimum as the maker's library does; these are the values before that rounding. Raises
        CheckpointError when a scale or minimum is not finite.
        """


class OpenedModel(NamedTuple):
    """A model in somebody else's files: what a reader (readers/registry.py) makes of a path.

    read_texts: everything but the weights. texts_in_fingerprint: other texts give another fingerprint of the weights,
    so that a packed file of the same fingerprint has the same texts. preferred_quant: the best one for this model when
    the user names none.
    """

    config: ModelConfig
    weights: WeightSource
    read_texts: Callable[[], ModelTexts]
    texts_in_fingerprint: bool
    preferred_quant: str


def kept_group(weights: WeightSource, name: str) -> int | None:
    """Columns of a group of a matrix that is stored in sixteen levels at most; None for any other matrix."""
    if not isinstance(weights, GroupSource) or weights.group_size(name) is None:
        return None
    return weights.group_size(name) if weights.group_bits(name) <= _KEPT_BITS else None


def read_vectors(weights: WeightSource) -> dict[str, NDArray[np.float32]]:
    """Every norm weight and bias of the model, float32."""
    return {name: weights.vector(name) for name in weights.vectors}


def original_matrix(weights: WeightSource, name: str, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
    """A matrix [rows, cols] as it is stored, or its rows [first, last), in float32."""
    return as_float32(weights.rows(name, first, weights.matrices[name][0] if last is None else last))
