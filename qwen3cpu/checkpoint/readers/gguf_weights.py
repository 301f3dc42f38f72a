"""Reads the weights of a GGUF file by the names of a Hugging Face checkpoint."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.dtypes import as_float32, finite_float32
from qwen3cpu.checkpoint.gguf_file import GgufTensor
from qwen3cpu.checkpoint.gguf_parts import GgufParts
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.gguf_blocks import GROUP_BITS, GROUP_SIZES, PLAIN, dequantize, read_groups
from qwen3cpu.checkpoint.readers.gguf_texts import CLASSIFIER, read_gguf_config, read_gguf_texts
from qwen3cpu.checkpoint.tensors import (
    KEEPING,
    NARROW,
    WIDE,
    Tensor,
    format_of_groups,
    matrix_shapes,
    tensors_of,
    vector_lengths,
)
from qwen3cpu.checkpoint.weight_source import Groups, OpenedModel, kept_group
from qwen3cpu.errors import CheckpointError

_FINGERPRINTED: Final = 1 << 16  # bytes of the file's start


def open_gguf(path: Path) -> OpenedModel:
    """Open a model in a GGUF file. Raises CheckpointError (ConfigError)."""
    file = GgufParts(path)
    config = read_gguf_config(file)
    weights = GgufWeights(file, config)
    return OpenedModel(
        config=config,
        weights=weights,
        # Deferred, because making tokenizer.json takes longer than all other steps when the weights are cached.
        read_texts=partial(_read_texts, file, weights),
        texts_in_fingerprint=True,
        preferred_quant=weights.preferred_quant(),
    )


def _read_texts(file: GgufParts, weights: GgufWeights) -> ModelTexts:
    texts = read_gguf_texts(file)
    if not texts.purpose.own_head:
        return texts
    return replace(texts, purpose=replace(texts.purpose, score=weights.score_head()))


_WEIGHT: Final = ".weight"
_SCALE: Final = ".scale"
"""NAME.scale beside NAME.weight multiplies the whole matrix. NVFP4 has one."""
_INPUT_SCALE: Final = ".input_scale"
"""For engines that round activations to NVFP4."""


class GgufWeights:
    """The tensors of a model in GGUF, checked against its configuration: a GroupSource.

    Quantised matrices are decoded to float32, a run of rows at a time.
    """

    def __init__(self, file: GgufParts, config: ModelConfig) -> None:
        """Raises CheckpointError for a tensor that is missing, misshapen or not expected."""
        self.path = file.path
        self._file = file
        self._tensors = {tensor.name: tensor for tensor in tensors_of(config)}
        self.matrices = matrix_shapes(config)
        self.vectors = vector_lengths(config)
        for tensor in self._tensors.values():
            self._check(tensor)
        self._hidden_size = config.hidden_size
        known = {tensor.gguf_name for tensor in self._tensors.values()}
        scales = {name.removesuffix(_WEIGHT) + end for name in known for end in (_SCALE, _INPUT_SCALE)}
        extra = sorted(set(file.tensors) - known - scales - {CLASSIFIER})
        if extra:
            raise CheckpointError(f"{file.path}: tensor {extra[0]}: found a tensor that a Qwen3 model does not have")
        self._scales = {name: self._read_scale(tensor) for name, tensor in self._tensors.items()}
        self.stored_bytes: int = sum(
            rows * cols * (PLAIN[self._type(name)].itemsize if self._is_plain(name) else 4)
            for name, (rows, cols) in self.matrices.items()
        )
        """Bytes of the matrices as `rows` returns them."""

    def _check(self, tensor: Tensor) -> None:
        found = self._file.tensors.get(tensor.gguf_name)
        if found is None:
            raise CheckpointError(f"{self.path}: expected tensor {tensor.gguf_name}, found no such tensor")
        if found.shape != tensor.gguf_shape:
            raise CheckpointError(
                f"{self.path}: tensor {tensor.gguf_name}: expected shape {list(tensor.gguf_shape)}, "
                f"found {list(found.shape)}"
            )

    def _read_scale(self, tensor: Tensor) -> np.float32 | None:
        """Read the factor of a matrix; None: it has none. The file has one number, or one for each copy."""
        name = tensor.gguf_name.removesuffix(_WEIGHT) + _SCALE
        found = self._file.tensors.get(name)
        if found is None:
            return None
        count = 1 if tensor.copy is None else tensor.copies
        if found.type != "F32" or prod(found.shape) != count:
            raise CheckpointError(
                f"{self.path}: tensor {name}: expected {count} numbers in F32, found {list(found.shape)} "
                f"in {found.type}"
            )
        stored = self._file.rows(name, 0, prod(found.shape[:-1]))
        scales = finite_float32(stored.reshape(-1).view("<f4"), f"{self.path}: tensor {name}")
        scale: np.float32 = scales[tensor.copy or 0]
        return scale

    def _is_plain(self, name: str) -> bool:
        """Whether `rows` returns the stored numbers unchanged."""
        return self._type(name) in PLAIN and self._scales[name] is None

    def _stored(self, name: str) -> GgufTensor:
        return self._file.tensors[self._tensors[name].gguf_name]

    def _type(self, name: str) -> str:
        return self._stored(name).type

    def _first_row(self, name: str) -> int:
        """Return the row of the file's tensor at which a tensor begins. Copies follow one another in it."""
        tensor = self._tensors[name]
        return 0 if tensor.copy is None else tensor.copy * tensor.shape[0]

    def preferred_quant(self) -> str:
        """Return the quant that keeps the precision of most weights in the layers.

        Groups of sixteen levels are kept unchanged. q8 keeps Q8_0 exactly and loses little of the other types. Rounding
        those to NARROW would double their loss. Weights that are not rounded yet may become NARROW. Where most weights
        want q8 and some have groups, the quant is the one of the groups, because matrices without groups are q8 in it.
        """
        sizes: Counter[str] = Counter()
        for name, (rows, cols) in self.matrices.items():
            if self._tensors[name].layer is not None:
                rounded = format_of_groups(kept_group(self, name))
                sizes[NARROW if self._type(name) in PLAIN else rounded] += rows * cols
        most, *others = (quant for quant, _ in sizes.most_common())
        return next((quant for quant in others if quant in KEEPING.values()), WIDE) if most == WIDE else most

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Return rows [first, last) of a matrix: C-contiguous float32, float16, or uint16 with bfloat16 bits.

        A vector counts as one row. Raises ArgumentError when the package `gguf` is needed and not installed.
        """
        stored, kind, scale = self.stored_rows(name, first, last), self._type(name), self._scales[name]
        if kind not in PLAIN:
            values: NDArray[Any] = dequantize(stored, kind, self.path)
        else:
            values = stored.view(PLAIN[kind])
            values = values if values.flags.aligned else values.copy()
        return values if scale is None else as_float32(values) * scale

    def stored_type(self, name: str) -> str | None:
        """Return the type that a matrix is stored in; None: it has a separate scale."""
        return self._type(name) if self._scales[name] is None else None

    def stored_rows(self, name: str, first: int, last: int) -> NDArray[np.uint8]:
        """Return the stored bytes of rows [first, last): uint8 [rows, bytes of a row], a view of the file."""
        start = self._first_row(name)
        return self._file.rows(self._tensors[name].gguf_name, start + first, start + last)

    def group_size(self, name: str) -> int | None:
        """Return the columns of a group; None for a matrix that is not stored in at most sixteen even levels."""
        return GROUP_SIZES.get(self._type(name))

    def group_bits(self, name: str) -> int:
        """Return the bits of a number in a group, for a matrix with groups."""
        return GROUP_BITS.get(self._type(name), 0)

    def groups(self, name: str, first: int, last: int) -> Groups:
        """As GroupSource.groups."""
        found = read_groups(self.stored_rows(name, first, last), self._type(name))
        scale = self._scales[name] or np.float32(1)
        where = f"{self.path}: tensor {self._tensors[name].gguf_name}"
        return Groups(
            found.numbers,
            finite_float32(found.scales * scale, where),
            finite_float32(found.minimums * scale, where),
        )

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Remove the pages of rows that will not be read again from this process's memory, not from the file cache."""
        self._advise("MADV_DONTNEED", name, first, last)

    def will_need(self, name: str) -> None:
        """Ask the system to read a tensor ahead."""
        self._advise("MADV_WILLNEED", name, 0, prod(self._tensors[name].shape[:-1]))

    def _advise(self, option: str, name: str, first: int, last: int) -> None:
        stored, start = self._stored(name), self._first_row(name)
        row_bytes = (stored.stop - stored.start) // prod(stored.shape[:-1])
        begin = stored.start + start * row_bytes
        self._file.advise(option, self._tensors[name].gguf_name, begin + first * row_bytes, begin + last * row_bytes)

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return a norm weight or bias, a float32 copy. Raises CheckpointError when a value is not finite."""
        where = f"{self.path}: tensor {self._tensors[name].gguf_name}"
        return finite_float32(self.rows(name, 0, 1).reshape(-1), where)

    def score_head(self) -> NDArray[np.float32]:
        """Return a reranker's own head `cls.output.weight`, float32 [2, hidden_size]: rows for yes and no."""
        tensor = self._file.tensors[CLASSIFIER]
        where = f"{self.path}: tensor {CLASSIFIER}"
        if tensor.shape != (2, self._hidden_size):
            raise CheckpointError(f"{where}: expected shape [2, {self._hidden_size}], found {list(tensor.shape)}")
        stored = self._file.rows(CLASSIFIER, 0, 2)
        if tensor.type in PLAIN:
            return finite_float32(stored.view(PLAIN[tensor.type]), where)
        return finite_float32(dequantize(stored, tensor.type, self.path), where)

    def files(self) -> dict[str, Path]:
        """Return name -> path of every weight file."""
        return {file.path.name: file.path for file in self._file.files}

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over name, size, modification time and start of every file."""
        digest = hashlib.sha256()
        for path in self.files().values():
            status = path.stat()
            with path.open("rb") as file:
                start = file.read(_FINGERPRINTED)
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode() + start)
        return digest.hexdigest()
