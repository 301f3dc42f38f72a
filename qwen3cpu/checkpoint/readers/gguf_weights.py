"""The weights of a GGUF file, by the names of a Hugging Face checkpoint."""

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
from qwen3cpu.checkpoint.dtypes import finite_float32
from qwen3cpu.checkpoint.gguf_file import GgufFile, GgufTensor
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.gguf_texts import CLASSIFIER, read_gguf_config, read_gguf_texts
from qwen3cpu.checkpoint.tensors import NARROW, WIDE, Tensor, matrix_shapes, tensors_of, vector_lengths
from qwen3cpu.checkpoint.weight_source import OpenedModel
from qwen3cpu.errors import ArgumentError, CheckpointError

_PLAIN: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_WIDE_TYPES: Final = ("Q8_0", "Q6_K", "Q5_K")  # that lose much in NARROW
_FINGERPRINTED: Final = 1 << 16  # bytes of the file's start


def open_gguf(path: Path) -> OpenedModel:
    """Open a model in a GGUF file. Raises CheckpointError (ConfigError)."""
    file = GgufFile(path)
    config = read_gguf_config(file)
    weights = GgufWeights(file, config)
    return OpenedModel(
        config=config,
        weights=weights,
        # Making tokenizer.json takes longer than all else when the weights come from the cache.
        read_texts=partial(_read_texts, file, weights),
        texts_in_fingerprint=True,
        preferred_quant=weights.preferred_quant(),
    )


def _read_texts(file: GgufFile, weights: GgufWeights) -> ModelTexts:
    texts = read_gguf_texts(file)
    if not texts.purpose.own_head:
        return texts
    return replace(texts, purpose=replace(texts.purpose, score=weights.score_head()))


class GgufWeights:
    """The tensors of a GGUF file, checked against its configuration: a WeightSource.

    Quantized matrices are handed out as float32, a run of rows at a time.
    """

    def __init__(self, file: GgufFile, config: ModelConfig) -> None:
        """Raises CheckpointError for a tensor that is missing, misshapen or not expected."""
        self.path = file.path
        self._file = file
        self._tensors = {tensor.name: tensor for tensor in tensors_of(config)}
        self.matrices = matrix_shapes(config)
        self.vectors = vector_lengths(config)
        for tensor in self._tensors.values():
            self._check(tensor)
        self._hidden_size = config.hidden_size
        extra = sorted(set(file.tensors) - {tensor.gguf_name for tensor in self._tensors.values()} - {CLASSIFIER})
        if extra:
            raise CheckpointError(f"{file.path}: tensor {extra[0]}: found a tensor that a Qwen3 model does not have")
        self.stored_bytes: int = sum(
            rows * cols * (_PLAIN[self._type(name)].itemsize if self._type(name) in _PLAIN else 4)
            for name, (rows, cols) in self.matrices.items()
        )
        """Bytes of the matrices as `rows` gives them."""

    def _check(self, tensor: Tensor) -> None:
        found = self._file.tensors.get(tensor.gguf_name)
        if found is None:
            raise CheckpointError(f"{self.path}: expected tensor {tensor.gguf_name}, found no such tensor")
        if found.shape != tensor.gguf_shape:
            raise CheckpointError(
                f"{self.path}: tensor {tensor.gguf_name}: expected shape {list(tensor.gguf_shape)}, "
                f"found {list(found.shape)}"
            )

    def _stored(self, name: str) -> GgufTensor:
        return self._file.tensors[self._tensors[name].gguf_name]

    def _type(self, name: str) -> str:
        return self._stored(name).type

    def _first_row(self, name: str) -> int:
        """The row of the file's tensor at which a tensor begins: not 0 for copies that lie behind one another."""
        tensor = self._tensors[name]
        return 0 if tensor.copy is None else tensor.copy * tensor.shape[0]

    def preferred_quant(self) -> str:
        """The quant that keeps what the layers have: exactly all of Q8_0, little less than all of Q6_K and Q5_K."""
        sizes: Counter[str] = Counter()
        for name, (rows, cols) in self.matrices.items():
            if self._tensors[name].layer is not None:
                sizes[self._type(name)] += rows * cols
        return WIDE if sizes.most_common(1)[0][0] in _WIDE_TYPES else NARROW

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last) of a matrix: C-contiguous float32, float16, or uint16 with bfloat16 bits (a vector: one).

        Raises ArgumentError when they are quantized and the package `gguf` is not installed.
        """
        start, kind = self._first_row(name), self._type(name)
        stored = self._file.rows(self._tensors[name].gguf_name, start + first, start + last)
        if kind not in _PLAIN:
            return _dequantized(stored, kind, self.path)
        values = stored.view(_PLAIN[kind])
        return values if values.flags.aligned else values.copy()

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Take the pages of rows that are done out of this process's memory; they stay in the system's file cache."""
        self._advise("MADV_DONTNEED", name, first, last)

    def will_need(self, name: str) -> None:
        """Let the system read a tensor ahead."""
        self._advise("MADV_WILLNEED", name, 0, prod(self._tensors[name].shape[:-1]))

    def _advise(self, option: str, name: str, first: int, last: int) -> None:
        stored, start = self._stored(name), self._first_row(name)
        row_bytes = (stored.stop - stored.start) // prod(stored.shape[:-1])
        begin = stored.start + start * row_bytes
        self._file.advise(option, begin + first * row_bytes, begin + last * row_bytes)

    def vector(self, name: str) -> NDArray[np.float32]:
        """A norm weight or bias as float32, a copy. Raises CheckpointError when a value is not finite."""
        where = f"{self.path}: tensor {self._tensors[name].gguf_name}"
        return finite_float32(self.rows(name, 0, 1).reshape(-1), where)

    def score_head(self) -> NDArray[np.float32]:
        """A reranker's own head, float32 [2, hidden_size], rows for yes and no: `cls.output.weight`."""
        tensor = self._file.tensors[CLASSIFIER]
        where = f"{self.path}: tensor {CLASSIFIER}"
        if tensor.shape != (2, self._hidden_size):
            raise CheckpointError(f"{where}: expected shape [2, {self._hidden_size}], found {list(tensor.shape)}")
        stored = self._file.rows(CLASSIFIER, 0, 2)
        if tensor.type in _PLAIN:
            return finite_float32(stored.view(_PLAIN[tensor.type]), where)
        return finite_float32(_dequantized(stored, tensor.type, self.path), where)

    def files(self) -> dict[str, Path]:
        """Name -> path of every weight file."""
        return {self._file.path.name: self._file.path}

    def fingerprint(self) -> str:
        """SHA-256 (hex) over name, size, modification time and start of the file; see FolderWeights.fingerprint."""
        status = self._file.path.stat()
        with self._file.path.open("rb") as file:
            start = file.read(_FINGERPRINTED)
        about = f"{self._file.path.name}\0{status.st_size}\0{status.st_mtime_ns}\0"
        return hashlib.sha256(about.encode() + start).hexdigest()


def _dequantized(stored: NDArray[np.uint8], kind: str, path: Path) -> NDArray[np.float32]:
    """float32 [rows, cols] of quantized rows."""
    try:
        import gguf
    except ImportError:
        raise ArgumentError(
            f"{path}: weights in {kind} are read with the package gguf, which is not installed: "
            "pip install 'qwen3cpu[gguf]'"
        ) from None
    values = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind])
    return np.ascontiguousarray(values, dtype=np.float32)
