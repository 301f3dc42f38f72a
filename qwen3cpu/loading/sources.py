"""Opens a model that is not packed, whatever reader it needs."""

from __future__ import annotations

from pathlib import Path

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.input_files import kind_of
from qwen3cpu.checkpoint.readers.registry import SourceKind, source_kind
from qwen3cpu.checkpoint.weight_source import OpenedModel
from qwen3cpu.errors import CheckpointError


def may_be_packed(path: Path) -> bool:
    """Whether a path is a file that no reader of checkpoints knows: only a packed file can be meant."""
    return path.is_file() and source_kind(path) is None


def open_unpacked(path: Path) -> OpenedModel:
    """Open a model folder or GGUF file. Raises CheckpointError (ConfigError)."""
    return _kind(path).open(path)


def read_unpacked_config(path: Path) -> ModelConfig:
    """The configuration of a model folder or GGUF file, with the same errors; its weights need not be there."""
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
