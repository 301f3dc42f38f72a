"""The plain reader of a model folder: weights in BF16, F16 or F32, in one file or several with an index."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.stored_folder import SCORE, StoredFolder
from qwen3cpu.checkpoint.readers.tensor_files import IN_FOLDER, WeightFiles
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT, HEAD, LAYERS
from qwen3cpu.errors import CheckpointError

_logger = logging.getLogger("qwen3cpu")


class FolderWeights(StoredFolder):
    """The tensors of a model folder, checked against its configuration; read through mmap, piece by piece."""

    preferred_quant = DEFAULT_QUANT

    def __init__(self, folder: Path, texts: ModelTexts, files: WeightFiles = IN_FOLDER) -> None:
        """Open the files as `TensorFiles` does.

        Raises CheckpointError for a tensor that is missing, misshapen or in another dtype than BF16, F16 or F32. Raises
        it also for tensors in `model.layers` that the configuration does not describe (more layers, a bias), because
        ignoring them would run another model than the file holds. Other extra tensors are ignored, as in transformers.
        """
        super().__init__(folder, texts, files)
        expected: dict[str, tuple[int, ...]] = {**self.matrices, **{name: (n,) for name, n in self.vectors.items()}}
        for name, shape in expected.items():
            self.tensors.check(name, shape)
        self._check_extra(set(self.tensors) - set(expected), self.config)
        self.stored_bytes: int = sum(self.tensors.bytes_of(name) for name in self.matrices)
        """Bytes of the matrices in the files."""

    def _check_extra(self, extra: set[str], config: ModelConfig) -> None:
        for name in sorted(extra):
            if name == SCORE or (name == HEAD and config.tie_word_embeddings):
                continue
            # Old checkpoints carry the RoPE frequencies, which follow from the configuration.
            if name.startswith(LAYERS) and not name.endswith(".rotary_emb.inv_freq"):
                file, _, stored = self.tensors.where(name).rpartition(": tensor ")
                raise CheckpointError(
                    f"{file}: expected {config.num_hidden_layers} layers "
                    f"{'with' if config.attention_bias else 'without'} attention biases as config.json says, "
                    f"found tensor {stored}"
                )
            _logger.info("%s: ignoring tensor %s, which a Qwen3 model does not have", self.path, name)

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Return rows [first, last) of a matrix: C-contiguous aligned float32, float16, or uint16 with bfloat16 bits.

        Raises CheckpointError for rows of an embedding that differ from those of a head tied to it.
        """
        self.check_twin(name, first, last)
        return self.tensors.rows(name, first, last)

    def drop_rows(self, name: str, first: int, last: int) -> None:
        """Remove the pages of rows that will not be read again from this process's memory, not from the file cache."""
        self.tensors.advise("MADV_DONTNEED", name, first, last, self.matrices[name][0])

    def will_need(self, name: str) -> None:
        """Ask the system to read a tensor ahead."""
        self.tensors.advise("MADV_WILLNEED", name, 0, 1, 1)
