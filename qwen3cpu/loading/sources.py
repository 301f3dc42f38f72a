"""Opens a model that is not packed, with the reader for its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.input_files import kind_of
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.purpose import GENERATION
from qwen3cpu.checkpoint.readers.registry import SourceKind, source_kind
from qwen3cpu.checkpoint.weight_source import OpenedModel
from qwen3cpu.errors import CheckpointError


def may_be_packed(path: Path) -> bool:
    """Whether a path is a file that no reader of checkpoints knows, so that it can only be a packed file."""
    return path.is_file() and source_kind(path) is None


def open_unpacked(path: Path, name: str | None = None) -> OpenedModel:
    """Open a model folder or GGUF file. Raises CheckpointError (ConfigError).

    name: the model's name, which tells its purpose when its files do not. Default: the name of the path.
    """
    opened = _kind(path).open(path)
    named = path.name if name is None else name
    if GENERATION.by_name(named) is GENERATION:
        return opened

    def read_texts() -> ModelTexts:
        texts = opened.read_texts()
        return replace(texts, purpose=texts.purpose.by_name(named))

    return opened._replace(read_texts=read_texts)


def read_unpacked_config(path: Path) -> ModelConfig:
    """Read the configuration of a model folder or GGUF file. Its weights may be missing. Raises as `open_unpacked`."""
    return _kind(path).read_config(path)


def _kind(path: Path) -> SourceKind:
    kind = source_kind(path)
    if kind is None:
        try:
            found = kind_of(path.stat().st_mode)
        except OSError as reason:
            found = reason.strerror or str(reason)
        raise CheckpointError(f"{path}: expected a model folder, a packed file or a GGUF file, found {found}")
    return kind
