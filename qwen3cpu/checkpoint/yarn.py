"""Chooses the rotary scaling (YaRN) for contexts longer than a model was trained on.

Source: the authors' model cards. The trained length is 32,768 positions; the released config.json says 40,960, which
leaves room for a prompt of 8,192 beside the answer. For longer contexts the authors recommend YaRN with a factor of
"context / 32,768", not larger than the texts need. They have tried it up to 131,072 positions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from qwen3cpu.arguments import shown
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.rope import LARGEST_FACTOR, RopeScaling, read_rope
from qwen3cpu.errors import ArgumentError, ConfigError

_logger = logging.getLogger("qwen3cpu")

_RELEASED: Final = 40960
_TRAINED: Final = 32768
_TRIED_FACTOR: Final = 4.0
_MOST: Final = 1 << 30  # positions; config.json has the same limit


def longest_context(config: ModelConfig) -> int:
    """Return the positions that a model was made for, or to which its YaRN factor stretches them if that is more."""
    if config.rope_scaling is None:
        return config.max_position_embeddings
    stretched = int(config.rope_scaling.factor * config.rope_scaling.original_max_position_embeddings)
    return max(config.max_position_embeddings, stretched)


def scaled_config(
    config: ModelConfig, context: int | None, rope_scaling: Mapping[str, Any] | None, source: str
) -> ModelConfig:
    """Return the configuration to run with, for `load`'s arguments `context` and `rope_scaling`.

    A context beyond what the model was made for turns YaRN on, with the least factor that reaches it. The log then has
    a warning that names `source`. Raises ArgumentError for an invalid rope_scaling, and for a context beyond its reach.
    """
    if rope_scaling is not None:
        config = _with_scaling(config, rope_scaling)
    longest = longest_context(config)
    if context is None or context <= longest:
        return config
    if rope_scaling is not None or config.rope_scaling is not None:
        where = "rope_scaling" if rope_scaling is not None else "the model's rope_scaling"
        raise ArgumentError(
            f"context: expected at most {longest} positions, the reach of {where}, found {shown(context)}"
        )
    trained = config.max_position_embeddings
    if trained == _RELEASED:
        trained = _TRAINED
    most = min(int(trained * LARGEST_FACTOR), _MOST)
    if context > most:
        raise ArgumentError(f"context: expected at most {most} positions, found {shown(context)}")
    factor = context / trained
    tried = "" if factor <= _TRIED_FACTOR else f" Factors above {_TRIED_FACTOR:g} have not been tried."
    _logger.warning(
        "%s was trained on %d positions; YaRN with factor %g stretches them to the context of %d. Answers to short "
        "texts may suffer a little, so use no longer context than needed.%s",
        source,
        trained,
        factor,
        context,
        tried,
    )
    return replace(config, rope_scaling=RopeScaling(factor, trained))


def _with_scaling(config: ModelConfig, rope_scaling: Mapping[str, Any]) -> ModelConfig:
    """Replace the configuration's rope_scaling by another, which is spelled as in a config.json."""
    if not isinstance(rope_scaling, Mapping) or not rope_scaling:
        raise ArgumentError(f"rope_scaling: expected an object as in config.json, found {shown(rope_scaling)}")
    values = {"rope_theta": config.rope_theta, "rope_scaling": dict(rope_scaling)}
    try:
        theta, scaling = read_rope(values, "load", config.max_position_embeddings)
    except ConfigError as reason:
        raise ArgumentError(str(reason)) from None
    return replace(config, rope_theta=theta, rope_scaling=scaling)
