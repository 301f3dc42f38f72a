"""The plain reader of a model folder: weights in BF16, F16 or F32, in one safetensors file or several with an index."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.dtypes import finite_float32
from qwen3cpu.checkpoint.input_files import read_file
from qwen3cpu.checkpoint.json_fields import brief, parse_object
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.folder_kind import check_no_adapter, describe_other_weights
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile, TensorEntry
from qwen3cpu.checkpoint.tensor_names import own_names
from qwen3cpu.checkpoint.tensors import HEAD, LAYERS, matrix_shapes, vector_lengths
from qwen3cpu.errors import CheckpointError

_logger = logging.getLogger("qwen3cpu")

_WEIGHTS: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
SCORE: Final = "score.weight"
"""The head of a model for sequence classification."""
_WEIGHT_DTYPES: Final = ("BF16", "F16", "F32")


class FolderWeights:
    """The tensors of a model folder, checked against its configuration; read through mmap, piece by piece."""

    def __init__(self, folder: Path, texts: ModelTexts) -> None:
        """Open model.safetensors or, as transformers does only when there is none, the shards of its index.

        Raises CheckpointError for a tensor that is missing, misshapen or in a dtype that is not BF16, F16 or F32, and
        for tensors inside `model.layers` that the configuration does not call for (more layers, a bias): leaving those
        out would run another model than the file holds. Any other extra tensor is ignored, and so is `lm_head.weight`
        where the configuration ties it to the embedding, both as in transformers.
        """
        config = texts.config
        self.path = folder
        self._config_json = texts.config_json
        self._hidden_size = config.hidden_size
        self._file_of = _open_files(folder)
        self._stored_name = own_names(self._file_of, folder)
        self.matrices = matrix_shapes(config)
        self.vectors = vector_lengths(config)
        expected: dict[str, tuple[int, ...]] = {**self.matrices, **{name: (n,) for name, n in self.vectors.items()}}
        for name, shape in expected.items():
            self._check_tensor(name, shape)
        self._check_extra(set(self._stored_name) - set(expected), config)
        self.stored_bytes: int = sum(self._entry(name).stop - self._entry(name).start for name in self.matrices)
        """Bytes of the matrices in the files."""

    def _entry(self, name: str) -> TensorEntry:
        return self._file(name).tensors[self._stored_name[name]]

    def _file(self, name: str) -> SafetensorsFile:
        return self._file_of[self._stored_name[name]]

    def _check_tensor(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self._stored_name:
            raise CheckpointError(f"{self.path}: expected tensor {name} of shape {list(shape)}, found no such tensor")
        entry = self._entry(name)
        where = f"{self._file(name).path}: tensor {self._stored_name[name]}"
        if entry.shape != shape:
            raise CheckpointError(f"{where}: expected shape {list(shape)}, found {list(entry.shape)}")
        if entry.dtype not in _WEIGHT_DTYPES:
            raise CheckpointError(f"{where}: expected dtype {', '.join(_WEIGHT_DTYPES)}, found {entry.dtype}")

    def _check_extra(self, extra: set[str], config: ModelConfig) -> None:
        for name in sorted(extra):
            if name == SCORE or (name == HEAD and config.tie_word_embeddings):
                continue
            # Old checkpoints carry the RoPE frequencies, which follow from the configuration.
            if name.startswith(LAYERS) and not name.endswith(".rotary_emb.inv_freq"):
                raise CheckpointError(
                    f"{self._file(name).path}: expected {config.num_hidden_layers} layers "
                    f"{'with' if config.attention_bias else 'without'} attention biases as config.json says, "
                    f"found tensor {self._stored_name[name]}"
                )
            _logger.info("%s: ignoring tensor %s, which a Qwen3 model does not have", self.path, name)

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last) of a matrix: C-contiguous aligned float32, float16, or uint16 with bfloat16 bits."""
        part = self._file(name).array(self._stored_name[name])[first:last]
        return part if part.flags.aligned else part.copy()

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Take the pages of rows that are done out of this process's memory; they stay in the system's file cache."""
        entry = self._entry(name)
        row_bytes = (entry.stop - entry.start) // entry.shape[0]
        self._file(name).advise("MADV_DONTNEED", entry.start + first * row_bytes, entry.start + last * row_bytes)

    def will_need(self, name: str) -> None:
        """Let the system read a tensor ahead."""
        entry = self._entry(name)
        self._file(name).advise("MADV_WILLNEED", entry.start, entry.stop)

    def vector(self, name: str) -> NDArray[np.float32]:
        """A norm weight or bias as float32, a copy. Raises CheckpointError when a value is not finite."""
        file, stored = self._file(name), self._stored_name[name]
        return finite_float32(file.array(stored), f"{file.path}: tensor {stored}")

    def score_head(self) -> NDArray[np.float32]:
        """A reranker's own head, float32 [1, hidden_size]: `score.weight`. Raises CheckpointError."""
        self._check_tensor(SCORE, (1, self._hidden_size))
        file, stored = self._file(SCORE), self._stored_name[SCORE]
        return finite_float32(file.array(stored), f"{file.path}: tensor {stored}")

    def files(self) -> dict[str, Path]:
        """Name -> path of every weight file."""
        return dict(sorted((file.path.name, file.path) for file in self._file_of.values()))

    def fingerprint(self) -> str:
        """SHA-256 (hex) over config.json and the name, size, modification time and header of every weight file.

        The weights themselves are not read: 3 GB would take longer than mapping the packed file does.
        """
        digest = hashlib.sha256(hashlib.sha256(self._config_json).digest())
        files = {file.path.name: file for file in self._file_of.values()}
        for name, file in sorted(files.items()):
            digest.update(f"{name}\0{file.size}\0{file.mtime_ns}\0".encode())
            digest.update(hashlib.sha256(file.header).digest())
        return digest.hexdigest()


def _open_files(folder: Path) -> dict[str, SafetensorsFile]:
    """Tensor name -> the file that holds it."""
    if _exists(folder / _WEIGHTS):
        file = SafetensorsFile(folder / _WEIGHTS)
        return dict.fromkeys(file.tensors, file)
    index = read_file(folder / _INDEX)
    if index is None:
        check_no_adapter(folder)
        raise CheckpointError(f"{folder}: expected {_WEIGHTS} or {_INDEX}, found {describe_other_weights(folder)}")
    source = f"{folder / _INDEX}"
    weight_map = parse_object(index, source).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{source}: weight_map: expected an object of tensor names, found {brief(weight_map)}")
    files: dict[str, SafetensorsFile] = {}
    file_of = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or shard in ("", ".", "..") or set(shard) & set("/\\\0"):
            raise CheckpointError(f"{source}: weight_map: {name!r}: expected a file name, found {brief(shard)}")
        if shard not in files:
            if not _exists(folder / shard):
                raise CheckpointError(f"{folder}: expected the file {shard} that {_INDEX} names, found none")
            files[shard] = SafetensorsFile(folder / shard)
        if name not in files[shard].tensors:
            raise CheckpointError(f"{folder / shard}: expected tensor {name!r} as {_INDEX} says, found none")
        file_of[name] = files[shard]
    return file_of


def _exists(path: Path) -> bool:
    """Whether a path is there; a name that the system does not allow is not."""
    try:
        return path.exists()
    except OSError:
        return False
