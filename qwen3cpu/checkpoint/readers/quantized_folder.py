"""A model folder with quantised matrices: the common base of all ways of storing them."""

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
"""Suffixes of tensors for rounding activations or the KV cache. They are ignored; the engine has its own way."""


class Part(NamedTuple):
    """A tensor that belongs to a matrix. by_row: whether it has an equal share for each row, in order."""

    name: str
    by_row: bool


class StoredMatrix(ABC):
    """A matrix as a library stored it.

    parts: its tensors. group_size, bits: as returned by GroupSource.group_size and GroupSource.group_bits.
    """

    parts: tuple[Part, ...]
    group_size: int | None = None
    bits: int = 0

    @abstractmethod
    def rows(self, first: int, last: int) -> NDArray[Any]:
        """As WeightSource.rows."""

    def groups(self, first: int, last: int) -> Groups:
        """As GroupSource.groups. Raises TypeError if group_size is None."""
        raise TypeError(f"{self.parts[0].name} has no groups of neighbouring columns with a scale and a minimum")


OpenMatrix = Callable[[TensorFiles, str, tuple[int, int]], StoredMatrix | None]
"""open(tensors, module, shape) opens the matrix of a module, such as "lm_head"; None: it is not quantised.

Raises CheckpointError for tensors that are missing, misshapen or of another dtype.
"""


class PlainMatrix(StoredMatrix):
    """A matrix that is not quantised."""

    def __init__(self, tensors: TensorFiles, name: str, shape: tuple[int, int]) -> None:
        tensors.check(name, shape)
        self._tensors = tensors
        self._name = name
        self.parts = (Part(name, True),)

    def rows(self, first: int, last: int) -> NDArray[Any]:
        """As WeightSource.rows."""
        return self._tensors.rows(self._name, first, last)


class QuantizedFolder(StoredFolder):
    """The weights of a model folder with quantised matrices, which are decoded to float32: a GroupSource.

    The tensors, not the lists in config.json, tell which matrices are quantised. This is safe because a file never has
    both forms of a matrix, and no library could load a file that differs from its lists.
    """

    def __init__(self, folder: Path, texts: ModelTexts, open_matrix: OpenMatrix) -> None:
        """Open the files as TensorFiles does, and every matrix in them.

        Raises CheckpointError as `open_matrix`, and for tensors that are missing, misshapen or in another dtype than
        BF16, F16 or F32. Raises it also for tensors in layers, embedding and head that the model does not use.
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
        """Bytes of the matrices as `rows` returns them."""
        self.preferred_quant = self._preferred_quant()

    def _preferred_quant(self) -> str:
        """Return the format that keeps the most weights in groups that can be kept; without such groups, 8 bits.

        8 bits lose little of levels that are already rounded. Rounding them to q4 would double their loss.
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
        """Raise CheckpointError unless an extra tensor has no effect on the model."""
        if name.endswith(".rotary_emb.inv_freq"):
            return
        if name.endswith(_ACTIVATIONS):
            _logger.info("%s: ignoring %s, because the engine rounds activations in its own way", self.path, name)
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
        """Return rows [first, last) of a matrix: float32, or the stored dtype if it is not quantised.

        The values are those that the maker's library computes. Raises CheckpointError for a scale that is not finite,
        and for rows of an embedding that differ from those of a head tied to it.
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
        """Remove the pages of rows that will not be read again from this process's memory, not from the file cache.

        Tensors that are not stored row by row are dropped with the last row.
        """
        rows = self.matrices[name][0]
        for part in self._stored[name].parts:
            if part.by_row:
                self.tensors.advise("MADV_DONTNEED", part.name, first, last, rows)
            elif last == rows:
                self.tensors.advise("MADV_DONTNEED", part.name, 0, 1, 1)

    def will_need(self, name: str) -> None:
        """Ask the system to read a matrix ahead."""
        for part in self._stored[name].parts:
            self.tensors.advise("MADV_WILLNEED", part.name, 0, 1, 1)
