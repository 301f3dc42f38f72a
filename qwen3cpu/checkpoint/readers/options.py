"""Reads `quantization_config` of config.json. An option that could change weights and is unknown is refused by name."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from qwen3cpu.checkpoint.json_fields import Fields, brief, parse_object
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.errors import ConfigError

KEY: Final = "quantization_config"
_CHARACTER: Final = re.compile(r"\\.|\[[^\]]*\]", re.DOTALL)
_REPEATED_GROUP: Final = re.compile(r"\)[*+{]")
_REPETITION: Final = re.compile(r"[*+{]")
_MOST_REPETITIONS: Final = 5


def quantization_fields(texts: ModelTexts, folder: object, key: str = KEY) -> Fields:
    """Read the object `key` of a folder's config.json. Raises ConfigError."""
    source = f"{folder}: config.json"
    values = parse_object(texts.config_json, source, ConfigError).get(key)
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: {key}: expected an object, found {brief(values)}")
    return Fields(values, f"{source}: {key}", ConfigError)


def inner_fields(fields: Fields, key: str, value: Any) -> Fields:
    """Read an object inside an object. Raises ConfigError for anything else."""
    if not isinstance(value, dict):
        raise ConfigError(f"{fields.source}: {key}: expected an object, found {brief(value)}")
    return Fields(value, f"{fields.source}: {key}", ConfigError)


def refuse_unknown(fields: Fields, known: Collection[str]) -> None:
    """Raise ConfigError for an unknown option, unless it is off (null, false or empty)."""
    for key, value in fields.values.items():
        if key not in known and value is not None and value is not False and value not in ([], {}, ""):
            raise fields.fail(key, "no such option: what it changes in the weights is not known")


def must_be(fields: Fields, key: str, allowed: Collection[Any], default: Any) -> Any:
    """Return the value of an option, or `default` if it is missing. Raises ConfigError unless it is allowed."""
    value = fields.values.get(key, default)
    if not any(type(value) is type(each) and value == each for each in allowed):
        raise fields.fail(key, f"one of {', '.join(brief(each) for each in allowed)}")
    return value


def group_size(fields: Fields, default: int | None, key: str = "group_size") -> int | None:
    """Read the columns of a group; None: whole rows, which files write as -1. Raises ConfigError."""
    value = fields.values.get(key, default)
    if value == -1 or value is None:
        return None
    return fields.optional_integer(key, 1, 1 << 20, default)


def names(fields: Fields, key: str) -> list[str]:
    """Read a list of names; empty if it is missing or null. Raises ConfigError."""
    value = fields.values.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise fields.fail(key, "a list of names")
    return value


def pattern(text: str, source: str) -> re.Pattern[str]:
    """Compile a regular expression of a configuration.

    Raises ConfigError when it is invalid, or has repetitions that could take practically for ever to match.
    """
    bare = _CHARACTER.sub("c", text)
    if _REPEATED_GROUP.search(bare) or len(_REPETITION.findall(bare)) > _MOST_REPETITIONS:
        raise ConfigError(
            f"{source}: expected a regular expression with at most {_MOST_REPETITIONS} repetitions, none of them of a "
            f"group, found {brief(text)}"
        )
    try:
        return re.compile(text)
    except re.error as reason:
        raise ConfigError(f"{source}: expected a regular expression, found {brief(text)}: {reason}") from None
