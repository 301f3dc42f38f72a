"""The registry of readers: a row for each kind of source, and one for each way of storing a folder's weights.

To add a reader, add a module beside this one and a row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from qwen3cpu.checkpoint.config import MLX, ModelConfig, quant_method
from qwen3cpu.checkpoint.gguf_file import is_gguf
from qwen3cpu.checkpoint.gguf_parts import GgufParts
from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.folder_texts import read_folder_config, read_folder_texts
from qwen3cpu.checkpoint.readers.safetensors_folder import FolderWeights
from qwen3cpu.checkpoint.readers.tied_head import with_config
from qwen3cpu.checkpoint.weight_source import FolderSource, OpenedModel
from qwen3cpu.errors import CheckpointError

WeightReader = Callable[[Path, ModelTexts], FolderSource]
"""reader(folder, its texts) opens the weights of a model folder. Raises CheckpointError."""


def _reader(module: str, function: str) -> WeightReader:
    """Return a reader whose module is imported only when it is used, because few models are quantised."""

    def open_folder(folder: Path, texts: ModelTexts) -> FolderSource:
        found = getattr(import_module(f"qwen3cpu.checkpoint.readers.{module}"), function)
        weights: FolderSource = found(folder, texts)
        return weights

    return open_folder


WEIGHT_READERS: Final[dict[str | None, WeightReader]] = {
    None: FolderWeights,
    "auto-round": _reader("auto_round", "open_auto_round"),
    "awq": _reader("awq", "open_awq"),
    "bitsandbytes": _reader("bitsandbytes", "open_bitsandbytes"),
    "compressed-tensors": _reader("compressed_tensors", "open_compressed_tensors"),
    "fp8": _reader("fp8", "open_fp8"),
    "gptq": _reader("gptq", "open_gptq"),
    MLX: _reader("mlx", "open_mlx"),
}
"""`quant_method` of config.json (checkpoint/config.py) -> reader of a folder's weights; None: not quantised."""


class SourceKind(NamedTuple):
    """A kind of path that holds a model.

    Attributes:
        matches: whether a path is of this kind.
        open: opens the model. Raises CheckpointError (ConfigError).
        read_config: reads the configuration alone, with the same errors. Weights may be missing.
    """

    matches: Callable[[Path], bool]
    open: Callable[[Path], OpenedModel]
    read_config: Callable[[Path], ModelConfig]


def open_folder(folder: Path, plain: WeightReader | None = None) -> OpenedModel:
    """Open a model folder. plain: a reader of unquantised weights to use; quantised weights are then refused.

    Raises CheckpointError (ConfigError).
    """
    texts = read_folder_texts(folder, WEIGHT_READERS)
    method = quant_method(parse_object(texts.config_json, str(folder)))
    if plain is not None and method is not None:
        raise CheckpointError(f"{folder}: expected weights that are not quantised, found {method!r} in config.json")
    weights = (plain or WEIGHT_READERS[method])(folder, texts)
    texts = with_config(texts, weights.config)
    if texts.purpose.own_head:
        texts = replace(texts, purpose=replace(texts.purpose, score=weights.score_head()))
    return OpenedModel(
        config=texts.config,
        weights=weights,
        read_texts=lambda: texts,
        texts_in_fingerprint=False,
        preferred_quant=weights.preferred_quant,
    )


def _read_folder_config(folder: Path) -> ModelConfig:
    return read_folder_config(folder, WEIGHT_READERS)


def _open_gguf(path: Path) -> OpenedModel:
    # Imported here, and in the next function, because few models are GGUF files.
    from qwen3cpu.checkpoint.readers.gguf_weights import open_gguf

    return open_gguf(path)


def _read_gguf_config(path: Path) -> ModelConfig:
    from qwen3cpu.checkpoint.readers.gguf_texts import read_gguf_config

    return read_gguf_config(GgufParts(path))


SOURCE_KINDS: Final = (
    SourceKind(Path.is_dir, open_folder, _read_folder_config),
    SourceKind(is_gguf, _open_gguf, _read_gguf_config),
)


def source_kind(path: Path) -> SourceKind | None:
    """Return the kind of a path; None: no reader knows it, as for packed files."""
    return next((kind for kind in SOURCE_KINDS if kind.matches(path)), None)
