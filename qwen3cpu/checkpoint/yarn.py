"""Contexts longer than a model was trained on: which rotary scaling (YaRN) a call of `load` gets.

Source: the authors' model cards. They name 32,768 positions as the trained length, for which the released config.json
says 40,960 (a prompt of 8,192 beside the answer), YaRN for more, a factor of "context / 32,768" and not more than the
texts at hand need, and have tried it up to 131,072.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.rope import LARGEST_FACTOR, RopeScaling, read_rope
from qwen3cpu.errors import ArgumentError, ConfigError

_logger = logging.getLogger("qwen3cpu")

_RELEASED: Final = 40960
_TRAINED: Final = 32768
_TRIED_FACTOR: Final = 4.0
_MOST: Final = 1 << 30  # positions, as config.json may say


def longest_context(config: ModelConfig) -> int:
    """Positions that a model was made for; with YaRN also what its factor stretches the original ones to."""
    if config.rope_scaling is None:
        return config.max_position_embeddings
    stretched = int(config.rope_scaling.factor * config.rope_scaling.original_max_position_embeddings)
    return max(config.max_position_embeddings, stretched)


def scaled_config(
    config: ModelConfig, context: int | None, rope_scaling: Mapping[str, Any] | None, source: str
) -> ModelConfig:
    """The configuration to run with, for `load`'s arguments `context` and `rope_scaling`; `source` names the model.

    A context beyond what the model was made for turns YaRN on, with the least factor that reaches it, and a warning in
    the log. Raises ArgumentError for a rope_scaling that is not understood and for a context that it does not reach.
    """
    if rope_scaling is not None:
        config = _with_scaling(config, rope_scaling)
    longest = longest_context(config)
    if context is None or context <= longest:
        return config
    if rope_scaling is not None or config.rope_scaling is not None:
        where = "rope_scaling" if rope_scaling is not None else "the model's rope_scaling"
        raise ArgumentError(f"context: expected at most {longest} positions, to which {where} reaches, found {context}")
    trained = config.max_position_embeddings
    if trained == _RELEASED:
        trained = _TRAINED
    factor = context / trained
    if factor > LARGEST_FACTOR or context > _MOST:
        most = min(int(trained * LARGEST_FACTOR), _MOST)
        raise ArgumentError(f"context: expected at most {most} positions, found {context}")
    tried = "" if factor <= _TRIED_FACTOR else f" Nothing is known of factors above {_TRIED_FACTOR:g}."
    _logger.warning(
        "%s was trained on %d positions; YaRN with factor %g stretches them to the context of %d. Answers to short "
        "texts may suffer a little: use no longer context than needed.%s",
        source,
        trained,
        factor,
        context,
        tried,
    )
    return replace(config, rope_scaling=RopeScaling(factor, trained))


def _with_scaling(config: ModelConfig, rope_scaling: Mapping[str, Any]) -> ModelConfig:
    """The configuration with `rope_scaling` as it stands in a config.json, in place of its own."""
    if not isinstance(rope_scaling, Mapping) or not rope_scaling:
        raise ArgumentError(f"rope_scaling: expected an object as in config.json, found {rope_scaling!r}")
    values = {"rope_theta": config.rope_theta, "rope_scaling": dict(rope_scaling)}
    try:
        theta, scaling = read_rope(values, "load", config.max_position_embeddings)
    except ConfigError as reason:
        raise ArgumentError(str(reason)) from None
    return replace(config, rope_theta=theta, rope_scaling=scaling)
