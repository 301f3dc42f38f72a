"""Opens a model that is not packed: a folder in Hugging Face layout or a GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.gguf_file import GgufFile, is_gguf
from qwen3cpu.checkpoint.hf_folder import FolderWeights, ModelTexts, read_texts
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT
from qwen3cpu.checkpoint.weight_source import WeightSource
from qwen3cpu.errors import CheckpointError


@dataclass(frozen=True)
class OpenedWeights:
    """A model folder or GGUF file.

    read_texts: everything but the weights. texts_in_fingerprint: other texts give another fingerprint, so that those of
    the packed file are the same. preferred_quant: what is best for it when the user names none.
    """

    config: ModelConfig
    weights: WeightSource
    read_texts: Callable[[], ModelTexts]
    texts_in_fingerprint: bool
    preferred_quant: str


def open_weights(path: Path) -> OpenedWeights:
    if path.is_dir():
        texts = read_texts(path)
        folder = FolderWeights(path, texts.config, texts.config_json)
        return OpenedWeights(texts.config, folder, lambda: texts, False, DEFAULT_QUANT)
    if not is_gguf(path):
        raise CheckpointError(f"{path}: expected a model folder, a packed file or a GGUF file, found neither")
    # Imported here, as it is rarely needed.
    from qwen3cpu.checkpoint.gguf_model import GgufWeights, read_gguf_config, read_gguf_texts

    file = GgufFile(path)
    config = read_gguf_config(file)
    weights = GgufWeights(file, config)
    # Making tokenizer.json takes longer than all else when the weights come from the cache.
    return OpenedWeights(config, weights, partial(read_gguf_texts, file), True, weights.preferred_quant())
