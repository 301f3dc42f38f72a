"""A model folder with quantized matrices: what all ways of storing them have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.stored_folder import SCORE, StoredFolder
from qwen3cpu.checkpoint.readers.tensor_files import FLOATS, TensorFiles
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, LAYERS, WIDE, format_of_groups
from qwen3cpu.checkpoint.weight_source import Groups, kept_group
from qwen3cpu.errors import CheckpointError

_logger = logging.getLogger("qwen3cpu")

_ACTIVATIONS: Final = (
    ".input_scale",
    ".output_scale",
    ".input_zero_point",
    ".output_zero_point",
    ".k_scale",
    ".v_scale",
)
"""Tensors that say how activations or the KV cache are rounded elsewhere; the engine has its own way."""


class Part(NamedTuple):
    """A tensor that a matrix is made of. by_row: it has an equal share for each row, in their order."""

    name: str
    by_row: bool


class StoredMatrix(ABC):
    """A matrix as a library stored it. parts: its tensors. group_size, bits: as GroupSource.group_size, group_bits."""

    parts: tuple[Part, ...]
    group_size: int | None = None
    bits: int = 0

    @abstractmethod
    def rows(self, first: int, last: int) -> NDArray[Any]:
        """As WeightSource.rows."""

    def groups(self, first: int, last: int) -> Groups:
        """As GroupSource.groups. Raises TypeError where group_size is None."""
        raise TypeError(f"{self.parts[0].name} has no groups of neighbouring columns with a scale and a minimum")


OpenMatrix = Callable[[TensorFiles, str, tuple[int, int]], StoredMatrix | None]
"""open(tensors, module, shape) gives a matrix by the name of its module ("lm_head"); None: it is not quantized.

Raises CheckpointError for tensors that are missing, misshapen or of another dtype.
"""


class PlainMatrix(StoredMatrix):
    """A matrix that was left as it is."""

    def __init__(self, tensors: TensorFiles, name: str, shape: tuple[int, int]) -> None:
        tensors.check(name, shape)
        self._tensors = tensors
        self._name = name
        self.parts = (Part(name, True),)

    def rows(self, first: int, last: int) -> NDArray[Any]:
        """As WeightSource.rows."""
        return self._tensors.rows(self._name, first, last)


class QuantizedFolder(StoredFolder):
    """The weights of a model folder, quantized ones handed out as float32: a GroupSource.

    Which matrices are quantized is what the tensors say, not the lists of config.json: both forms of a matrix are
    never in one file, and no library could load a file that differs from its lists.
    """

    def __init__(self, folder: Path, texts: ModelTexts, open_matrix: OpenMatrix) -> None:
        """Open the files, as TensorFiles says, and every matrix in them.

        Raises CheckpointError as `open_matrix`, for tensors of the model that are missing, misshapen or in a dtype that
        is not BF16, F16 or F32, and for tensors in layers, embedding and head that no part of the model is made of.
        """
        super().__init__(folder, texts)
        self._tied = self.config.tie_word_embeddings
        self._stored: dict[str, StoredMatrix] = {}
        for name, shape in self.matrices.items():
            found = open_matrix(self.tensors, name.removesuffix(".weight"), shape)
            self._stored[name] = found or PlainMatrix(self.tensors, name, shape)
        for name, length in self.vectors.items():
            self.tensors.check(name, (length,))
        self._check_extra()
        self.stored_bytes: int = sum(
            self.tensors.bytes_of(name) if isinstance(self._stored[name], PlainMatrix) else rows * cols * 4
            for name, (rows, cols) in self.matrices.items()
        )
        """Bytes of the matrices as `rows` gives them."""
        self.preferred_quant = self._preferred_quant()

    def _preferred_quant(self) -> str:
        """The format that keeps most of the groups that can be kept; where there are none, 8 bits.

        8 bits lose little of the levels that others have chosen. To round these to q4 would cost as much once more.
        """
        sizes: Counter[str] = Counter()
        for name, (rows, cols) in self.matrices.items():
            if (columns := kept_group(self, name)) is not None:
                sizes[format_of_groups(columns)] += rows * cols
        del sizes[WIDE]
        return sizes.most_common(1)[0][0] if sizes else WIDE

    def _check_extra(self) -> None:
        used = {part.name for matrix in self._stored.values() for part in matrix.parts} | set(self.vectors) | {SCORE}
        for name in sorted(set(self.tensors) - used):
            if self._tied and name == HEAD and self.tensors.entry(name).dtype in FLOATS:
                continue
            if name.startswith((LAYERS, *(each.removesuffix("weight") for each in (EMBEDDING, HEAD)))):
                self._check_no_effect(name)
            else:
                _logger.info("%s: ignoring tensor %s, which a Qwen3 model does not have", self.path, name)

    def _check_no_effect(self, name: str) -> None:
        """Raise CheckpointError unless a tensor that nobody asks for changes nothing."""
        if name.endswith(".rotary_emb.inv_freq"):
            return
        if name.endswith(_ACTIVATIONS):
            _logger.info("%s: ignoring %s: the engine rounds activations in its own way", self.path, name)
            return
        # Some writers of GPTQ add a bias of zeros to each linear layer.
        if name.endswith(".bias") and self.tensors.entry(name).dtype in FLOATS and not self.tensors.array(name).any():
            return
        tied = " (config.json ties the head to the embedding)" if self._tied and name.startswith("lm_head.") else ""
        raise CheckpointError(
            f"{self.tensors.where(name)}: expected the tensors of the model that config.json describes{tied}, found "
            "one that does not belong to it"
        )

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last) of a matrix: float32, or as the file has it where it is not quantized.

        Values are those of the maker's library. Raises CheckpointError for a scale that is not finite, and for rows of
        an embedding that differ from those of a head tied to it.
        """
        self.check_twin(name, first, last)
        return self._stored[name].rows(first, last)

    def group_size(self, name: str) -> int | None:
        """As GroupSource.group_size."""
        return self._stored[name].group_size

    def group_bits(self, name: str) -> int:
        """As GroupSource.group_bits."""
        return self._stored[name].bits

    def groups(self, name: str, first: int, last: int) -> Groups:
        """As GroupSource.groups."""
        return self._stored[name].groups(first, last)

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Take the pages of rows that are done out of this process's memory; they stay in the system's file cache.

        Tensors that hold all rows side by side are dropped with the last row.
        """
        rows = self.matrices[name][0]
        for part in self._stored[name].parts:
            if part.by_row:
                self.tensors.advise("MADV_DONTNEED", part.name, first, last, rows)
            elif last == rows:
                self.tensors.advise("MADV_DONTNEED", part.name, 0, 1, 1)

    def will_need(self, name: str) -> None:
        """Let the system read a matrix ahead."""
        for part in self._stored[name].parts:
            self.tensors.advise("MADV_WILLNEED", part.name, 0, 1, 1)
