"""Everything of a model except its weights, checked: configuration, tokenizer, chat template."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.checkpoint.file_kinds import START, describe_kind
from qwen3cpu.checkpoint.json_fields import brief, parse_object
from qwen3cpu.checkpoint.purpose import GENERATION, Purpose
from qwen3cpu.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class ModelTexts:
    """Everything of a model except its weights. `*_json` are unchanged files, b"{}" for a missing optional one."""

    config_json: bytes
    config: ModelConfig
    generation_json: bytes
    generation: GenerationDefaults
    tokenizer_json: bytes
    tokenizer_config_json: bytes
    tokenizer_config: dict[str, Any]
    chat_template: str | None
    purpose: Purpose = GENERATION

    def for_purpose(self, purpose: Purpose, *, has_head: bool = False) -> ModelTexts:
        """Return the texts of the same model for another purpose.

        Args:
            purpose: the new purpose.
            has_head: whether the files hold the language model's head although the purpose does not need it. Without a
                head, the configuration ties it to the embedding, where it is never read.
        """
        tied = self.config.tie_word_embeddings or not (has_head or purpose.needs_head)
        return replace(self, purpose=purpose, config=replace(self.config, tie_word_embeddings=tied))


def parse_texts(
    files: Mapping[str, bytes],
    chat_template: str | None,
    source: str,
    quant_methods: Collection[str | None] | None = (),
) -> ModelTexts:
    """Check the contents of config.json, generation_config.json, tokenizer.json and tokenizer_config.json.

    Args:
        files: name -> contents. config.json and tokenizer.json are required.
        chat_template: contents of chat_template.jinja, which override tokenizer_config.json, as in transformers.
        source: what messages call the model.
        quant_methods: as for `ModelConfig.from_dict`.

    Raises:
        CheckpointError: a file is missing or damaged.
        ConfigError: config.json or generation_config.json is damaged or not supported.
    """
    config = parse_config(files, source, quant_methods)
    generation_source = f"{source}: generation_config.json"
    generation_json = files.get("generation_config.json", b"{}")
    generation = GenerationDefaults.from_dict(
        parse_object(generation_json, generation_source, ConfigError), generation_source
    )
    tokenizer_config_json = files.get("tokenizer_config.json", b"{}")
    tokenizer_config = parse_object(tokenizer_config_json, f"{source}: tokenizer_config.json")
    if chat_template is None:
        chat_template = _template_in(tokenizer_config, source)
    return ModelTexts(
        config_json=files["config.json"],
        config=config,
        generation_json=generation_json,
        generation=generation,
        tokenizer_json=_tokenizer(files, source),
        tokenizer_config_json=tokenizer_config_json,
        tokenizer_config=tokenizer_config,
        chat_template=chat_template,
    )


def _is_named(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def parse_config(
    files: Mapping[str, bytes], source: str, quant_methods: Collection[str | None] | None = ()
) -> ModelConfig:
    """Check config.json alone; arguments and errors as for `parse_texts`."""
    config_json = _needed(files, "config.json", source)
    source = f"{source}: config.json"
    return ModelConfig.from_dict(parse_object(config_json, source, ConfigError), source, quant_methods)


def _needed(files: Mapping[str, bytes], name: str, source: str) -> bytes:
    if name not in files:
        raise CheckpointError(f"{source}: expected a file {name}, found none")
    return files[name]


def _tokenizer(files: Mapping[str, bytes], source: str) -> bytes:
    """Return tokenizer.json without a byte order mark. Raises CheckpointError when it is another kind of file."""
    data = _needed(files, "tokenizer.json", source)
    if kind := describe_kind(data[:START]):
        raise CheckpointError(f"{source}: tokenizer.json: expected JSON{kind}")
    return data.removeprefix(codecs.BOM_UTF8)


def _template_in(tokenizer_config: Mapping[str, Any], source: str) -> str | None:
    """Return the template of tokenizer_config.json: a string, or "default" in a list or object of named templates."""
    given = found = tokenizer_config.get("chat_template")
    if isinstance(found, list):
        found = {entry.get("name"): entry.get("template") for entry in found if _is_named(entry)}
    if isinstance(found, dict):
        found = found.get("default")
    if given is not None and not isinstance(found, str):
        expected = "a string" if given is found else 'a template named "default"'
        raise CheckpointError(
            f"{source}: tokenizer_config.json: chat_template: expected {expected}, found {brief(given)}"
        )
    return found
