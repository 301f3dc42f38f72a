"""Reads an adapter in any supported file format."""

from __future__ import annotations

import os

from qwen3cpu.checkpoint.adapters.contents import AdapterContents
from qwen3cpu.checkpoint.adapters.gguf_lora import read_gguf_lora
from qwen3cpu.checkpoint.adapters.peft_folder import WEIGHTS_FILE, read_peft_folder
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.gguf_file import is_gguf
from qwen3cpu.errors import AdapterError
from qwen3cpu.system.paths import checked_path


def read_adapter(source: str | os.PathLike[str], config: ModelConfig) -> AdapterContents:
    """Read the adapter at a path, for a model of this configuration.

    Args:
        source: a folder as PEFT saves it, or a GGUF file as llama.cpp's converter writes it.
        config: of the model.

    Raises:
        AdapterError: the path holds no adapter, or one that cannot be used with this model; the message says why.
        CheckpointError: a file is damaged.
    """
    path = checked_path("adapters", source)
    if os.path.isdir(path):
        return read_peft_folder(path, config)
    if is_gguf(path):
        return read_gguf_lora(path, config)
    found = "another file" if os.path.exists(path) else "no such path"
    raise AdapterError(
        f"{path}: expected a folder with adapter_config.json and {WEIGHTS_FILE}, or an adapter in GGUF, found {found}"
    )
