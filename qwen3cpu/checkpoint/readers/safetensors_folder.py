"""The plain reader of a model folder: weights in BF16, F16 or F32, in one file or several with an index."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles
from qwen3cpu.checkpoint.readers.tied_head import check_twin, has_twin, stored_config
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT, EMBEDDING, HEAD, LAYERS, matrix_shapes, vector_lengths
from qwen3cpu.errors import CheckpointError

_logger = logging.getLogger("qwen3cpu")

SCORE: Final = "score.weight"
"""The head of a model for sequence classification."""


class FolderWeights:
    """The tensors of a model folder, checked against its configuration; read through mmap, piece by piece."""

    preferred_quant = DEFAULT_QUANT

    def __init__(self, folder: Path, texts: ModelTexts) -> None:
        """Open the files, as `TensorFiles` says.

        Raises CheckpointError for a tensor that is missing, misshapen or in a dtype that is not BF16, F16 or F32, and
        for tensors inside `model.layers` that the configuration does not call for (more layers, a bias): leaving those
        out would run another model than the file holds. Any other extra tensor is ignored, as in transformers.
        """
        self.path = folder
        self._config_json = texts.config_json
        self._tensors = TensorFiles(folder)
        self.config = config = stored_config(texts, self._tensors)
        self._has_twin = has_twin(config, self._tensors)
        self._hidden_size = config.hidden_size
        self.matrices = matrix_shapes(config)
        self.vectors = vector_lengths(config)
        expected: dict[str, tuple[int, ...]] = {**self.matrices, **{name: (n,) for name, n in self.vectors.items()}}
        for name, shape in expected.items():
            self._tensors.check(name, shape)
        self._check_extra(set(self._tensors) - set(expected), config)
        self.stored_bytes: int = sum(self._tensors.bytes_of(name) for name in self.matrices)
        """Bytes of the matrices in the files."""

    def _check_extra(self, extra: set[str], config: ModelConfig) -> None:
        for name in sorted(extra):
            if name == SCORE or (name == HEAD and config.tie_word_embeddings):
                continue
            # Old checkpoints carry the RoPE frequencies, which follow from the configuration.
            if name.startswith(LAYERS) and not name.endswith(".rotary_emb.inv_freq"):
                file, _, stored = self._tensors.where(name).rpartition(": tensor ")
                raise CheckpointError(
                    f"{file}: expected {config.num_hidden_layers} layers "
                    f"{'with' if config.attention_bias else 'without'} attention biases as config.json says, "
                    f"found tensor {stored}"
                )
            _logger.info("%s: ignoring tensor %s, which a Qwen3 model does not have", self.path, name)

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last) of a matrix: C-contiguous aligned float32, float16, or uint16 with bfloat16 bits.

        Raises CheckpointError for rows of an embedding that differ from those of a head tied to it.
        """
        if self._has_twin and name == EMBEDDING:
            check_twin(self._tensors, first, last)
        part = self._tensors.array(name)[first:last]
        return part if part.flags.aligned else part.copy()

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Take the pages of rows that are done out of this process's memory; they stay in the system's file cache."""
        self._tensors.advise("MADV_DONTNEED", name, first, last, self.matrices[name][0])

    def will_need(self, name: str) -> None:
        """Let the system read a tensor ahead."""
        self._tensors.advise("MADV_WILLNEED", name, 0, 1, 1)

    def vector(self, name: str) -> NDArray[np.float32]:
        """A norm weight or bias as float32, a copy. Raises CheckpointError when a value is not finite."""
        return self._tensors.finite(name)

    def score_head(self) -> NDArray[np.float32]:
        """A reranker's own head, float32 [1, hidden_size]: `score.weight`. Raises CheckpointError."""
        self._tensors.check(SCORE, (1, self._hidden_size))
        return self._tensors.finite(SCORE)

    def files(self) -> dict[str, Path]:
        """Name -> path of every weight file."""
        return self._tensors.files()

    def fingerprint(self) -> str:
        """As `TensorFiles.fingerprint` of config.json."""
        return self._tensors.fingerprint(self._config_json)
