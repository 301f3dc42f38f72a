"""The common base of the readers of model folders, whatever form the matrices have."""

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
    """The files of a model folder, and all of its weights except the matrices.

    tensors: every tensor in the files. has_twin: whether the files have a head although it is tied to the embedding.
    """

    def __init__(self, folder: Path, texts: ModelTexts, files: WeightFiles = IN_FOLDER) -> None:
        """Open the files as `TensorFiles` does. Shapes and dtypes are not checked yet."""
        self.path = folder
        self._config_json = texts.config_json
        self.tensors = TensorFiles(folder, files)
        self.config = stored_config(texts, self.tensors)
        self.has_twin = has_twin(self.config, self.tensors)
        self.matrices = matrix_shapes(self.config)
        self.vectors = vector_lengths(self.config)

    def check_twin(self, name: str, first: int, last: int) -> None:
        """Raise CheckpointError when rows of an embedding differ from those of a head tied to it."""
        if self.has_twin and name == EMBEDDING:
            check_twin(self.tensors, first, last)

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return a norm weight or bias, a float32 copy. Raises CheckpointError when a value is not finite."""
        return self.tensors.finite(name)

    def score_head(self) -> NDArray[np.float32]:
        """Return a reranker's own head `score.weight`, float32 [1, hidden_size]. Raises CheckpointError."""
        self.tensors.check(SCORE, (1, self.config.hidden_size))
        return self.tensors.finite(SCORE)

    def files(self) -> dict[str, Path]:
        """Return name -> path of every weight file."""
        return self.tensors.files()

    def fingerprint(self) -> str:
        """Return `TensorFiles.fingerprint` for the folder's config.json."""
        return self.tensors.fingerprint(self._config_json)
