"""A checkpoint ready to run: its texts, and its weights in the engine's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.checkpoint.hf_folder import ModelTexts


@dataclass
class Checkpoint:
    """A model ready to run: texts, and weights in the layout of `_native.Model`.

    matrices: HF name -> (format, rows, cols, packed bytes); vectors: norm weights and biases. weight_bytes counts both.
    packed_path: the file that the matrices are mapped from, None when they are in anonymous memory.
    """

    source: str
    config: ModelConfig
    generation: GenerationDefaults
    tokenizer_json: bytes
    tokenizer_config: dict[str, Any]
    chat_template: str | None
    matrices: dict[str, tuple[str, int, int, NDArray[np.uint8]]]
    vectors: dict[str, NDArray[np.float32]]
    quant: str
    weight_bytes: int
    fingerprint: str
    packed_path: Path | None


def make_checkpoint(
    name: str,
    texts: ModelTexts,
    matrices: dict[str, tuple[str, int, int, NDArray[np.uint8]]],
    vectors: dict[str, NDArray[np.float32]],
    quant: str,
    fingerprint: str,
    packed_path: Path | None,
) -> Checkpoint:
    weight_bytes = sum(data.nbytes for _, _, _, data in matrices.values()) + sum(v.nbytes for v in vectors.values())
    return Checkpoint(
        source=name,
        config=texts.config,
        generation=texts.generation,
        tokenizer_json=texts.tokenizer_json,
        tokenizer_config=texts.tokenizer_config,
        chat_template=texts.chat_template,
        matrices=matrices,
        vectors=vectors,
        quant=quant,
        weight_bytes=weight_bytes,
        fingerprint=fingerprint,
        packed_path=packed_path,
    )
