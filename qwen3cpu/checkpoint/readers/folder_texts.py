"""Reads the texts of a model folder in Hugging Face layout: configuration, tokenizer, chat template."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.input_files import read_file
from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.checkpoint.model_texts import ModelTexts, parse_config, parse_texts
from qwen3cpu.checkpoint.purpose import folder_purpose
from qwen3cpu.checkpoint.readers.folder_kind import check_no_adapter
from qwen3cpu.errors import CheckpointError


def read_folder_config(folder: Path, quant_methods: Collection[str | None] = ()) -> ModelConfig:
    """Read the configuration of a model folder, which may have no other file.

    quant_methods: as for `ModelConfig.from_dict`. Raises CheckpointError (ConfigError).
    """
    data = read_file(folder / "config.json")
    if data is None:
        check_no_adapter(folder)
    return parse_config({} if data is None else {"config.json": data}, str(folder), quant_methods)


def read_folder_texts(folder: Path, quant_methods: Collection[str | None] = ()) -> ModelTexts:
    """Read the texts of a model folder.

    quant_methods: as for `ModelConfig.from_dict`. Raises CheckpointError (ConfigError for config.json).
    """
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    files = {name: data for name in names if (data := read_file(folder / name)) is not None}
    if "config.json" not in files:
        check_no_adapter(folder)
    template = read_file(folder / "chat_template.jinja")
    text = None if template is None else _decode(template, f"{folder}: chat_template.jinja")
    texts = parse_texts(files, text, str(folder), quant_methods)
    config = parse_object(texts.config_json, str(folder))
    return texts.for_purpose(folder_purpose(config, lambda name: read_file(folder / name), str(folder)))


def _decode(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        byte = reason.object[reason.start]
        raise CheckpointError(f"{source}: expected UTF-8, found byte {byte:#04x} at {reason.start}") from None
