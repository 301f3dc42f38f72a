"""A checkpoint ready to run: its texts, and its weights in the engine's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.purpose import GENERATION, Purpose
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD
from qwen3cpu.errors import ArgumentError, CheckpointError, ConfigError, EngineError
from qwen3cpu.packed.matrix import PackedMatrix
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.system.use_lock import UseLock
from qwen3cpu.text.tokenizer import Tokenizer


@dataclass
class Checkpoint:
    """A model ready to run: texts, and weights in the layout of `_native.Model`.

    Attributes:
        source: what the user named.
        matrices: by Hugging Face name, in the order of the forward pass.
        vectors: norm weights and biases.
        fingerprint: of the files that the weights were packed from.
        packed_path: the file that the matrices are mapped from; None when they are in anonymous memory.
        packed: that file, open.
        purpose: what the model was made for.
        locks: keep the files from being removed while this object exists.
        fits: whether memory had room for the weights of a mapped file when it was opened. Always true for weights in
            anonymous memory.
    """

    source: str
    config: ModelConfig
    generation: GenerationDefaults
    tokenizer_json: bytes
    tokenizer_config: dict[str, Any]
    chat_template: str | None
    matrices: dict[str, PackedMatrix]
    vectors: dict[str, NDArray[np.float32]]
    quant: str
    fingerprint: str
    packed_path: Path | None
    packed: PackedFile | None = None
    purpose: Purpose = GENERATION
    locks: tuple[UseLock, ...] = ()
    fits: bool = True

    def check_weights(self) -> None:
        """Raise EngineError when the mapped file has become shorter, because reading its map would end the process."""
        if self.packed is not None:
            try:
                self.packed.check_size()
            except CheckpointError as cut:
                raise EngineError(str(cut)) from None

    def give_back(self) -> None:
        """Release the weights, and the locks on their files."""
        self.matrices, self.vectors, self.packed, self.locks = {}, {}, None, ()

    def check_writes_text(self) -> None:
        """Raise ArgumentError when the model was not made to write text. Such a model may have no head."""
        if not self.purpose.needs_head:
            method = "embed" if self.purpose.task == "embedding" else "rerank"
            raise ArgumentError(
                f"{self.source}: expected a model that writes text, found one made for {self.purpose.task}; use "
                f"model.{method}"
            )

    def head_row(self, id_: int) -> NDArray[np.float32]:
        """Return the head's row for a token, float32 [hidden_size], unpacked from the head's format."""
        head = self.matrices[EMBEDDING if self.config.tie_word_embeddings else HEAD]
        row: NDArray[np.float32] = _native.unpack(head.format, head.data, head.rows, head.cols, 1, id_, id_ + 1)[0]
        return row

    def native_model(self, context: int, tokens: int, kv: str, activations: str, threads: int) -> _native.Model:
        """Make the engine's model.

        Args:
            context: positions of the longest sequence.
            tokens: number of ids of the tokenizer.
            kv: format of the KV cache.
            activations: what the inputs of quantised matrices are rounded to.
            threads: number of threads.
        """
        config = self.config.native(context, tokens=tokens, fits=self.fits, int16_inputs=activations == "int16")
        return _native.Model(config, dict(self.matrices), self.vectors, kv, threads)

    def make_tokenizer(self) -> Tokenizer:
        """Make the tokenizer.

        Raises:
            CheckpointError: it is damaged, or the embedding lacks rows for its ids.
            ConfigError: an end token lies outside of the vocabulary.
        """
        tokenizer = Tokenizer(self.tokenizer_json, self.tokenizer_config, source=self.source)
        if tokenizer.size > self.config.vocab_size:
            raise CheckpointError(
                f"{self.source}: expected a row of the embedding for each of the tokenizer's {tokenizer.size} ids, "
                f"found {self.config.vocab_size} rows; tokens were added without resizing the embedding, or "
                "tokenizer.json belongs to another model"
            )
        ends = {"config.json": self.config.eos_token_ids, "generation_config.json": self.generation.eos_token_ids or ()}
        for file, ids in ends.items():
            wrong = [id_ for id_ in ids if not 0 <= id_ < self.config.vocab_size]
            if wrong:
                most = self.config.vocab_size - 1
                raise ConfigError(
                    f"{self.source}: {file}: eos_token_id: expected ids from 0 to {most}, found {wrong[0]}"
                )
        return tokenizer

    @property
    def weight_bytes(self) -> int:
        """Bytes of matrices and vectors in memory."""
        matrices = sum(matrix.data.nbytes for matrix in self.matrices.values())
        return matrices + sum(vector.nbytes for vector in self.vectors.values())

    @classmethod
    def of(
        cls,
        source: str,
        texts: ModelTexts,
        matrices: dict[str, PackedMatrix],
        vectors: dict[str, NDArray[np.float32]],
        quant: str,
        *,
        fingerprint: str,
        packed: PackedFile | None,
    ) -> Checkpoint:
        """A checkpoint of these texts and weights; `packed` is the file that the matrices are mapped from."""
        return cls(
            source=source,
            config=texts.config,
            generation=texts.generation,
            tokenizer_json=texts.tokenizer_json,
            tokenizer_config=texts.tokenizer_config,
            chat_template=texts.chat_template,
            matrices=matrices,
            vectors=vectors,
            quant=quant,
            fingerprint=fingerprint,
            packed_path=None if packed is None else packed.path,
            packed=packed,
            purpose=texts.purpose,
        )
