"""What the readers of model folders have in common, however the matrices are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.tensor_files import IN_FOLDER, TensorFiles, WeightFiles
from qwen3cpu.checkpoint.readers.tied_head import check_twin, has_twin, stored_config
from qwen3cpu.checkpoint.tensors import EMBEDDING, matrix_shapes, vector_lengths

SCORE: Final = "score.weight"
"""The head of a model for sequence classification."""


class StoredFolder:
    """The files of a model folder, and all of its weights but the matrices.

    tensors: every tensor in them. has_twin: whether there is a head beside the embedding to which it is tied.
    """

    def __init__(self, folder: Path, texts: ModelTexts, files: WeightFiles = IN_FOLDER) -> None:
        """Open the files, as `TensorFiles` says; nothing is checked yet."""
        self.path = folder
        self._config_json = texts.config_json
        self.tensors = TensorFiles(folder, files)
        self.config = stored_config(texts, self.tensors)
        self.has_twin = has_twin(self.config, self.tensors)
        self.matrices = matrix_shapes(self.config)
        self.vectors = vector_lengths(self.config)

    def check_twin(self, name: str, first: int, last: int) -> None:
        """Raise CheckpointError where rows of an embedding differ from those of a head tied to it."""
        if self.has_twin and name == EMBEDDING:
            check_twin(self.tensors, first, last)

    def vector(self, name: str) -> NDArray[np.float32]:
        """A norm weight or bias as float32, a copy. Raises CheckpointError when a value is not finite."""
        return self.tensors.finite(name)

    def score_head(self) -> NDArray[np.float32]:
        """A reranker's own head, float32 [1, hidden_size]: `score.weight`. Raises CheckpointError."""
        self.tensors.check(SCORE, (1, self.config.hidden_size))
        return self.tensors.finite(SCORE)

    def files(self) -> dict[str, Path]:
        """Name -> path of every weight file."""
        return self.tensors.files()

    def fingerprint(self) -> str:
        """As `TensorFiles.fingerprint` of config.json."""
        return self.tensors.fingerprint(self._config_json)
