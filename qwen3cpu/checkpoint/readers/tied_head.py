"""Finds out whether a model's head is tied to its embedding. The tensors overrule config.json, as in transformers."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.dtypes import as_float32
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.tensor_files import FLOATS, TensorFiles
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD
from qwen3cpu.errors import CheckpointError

_logger = logging.getLogger("qwen3cpu")

_TIE: Final = "tie_word_embeddings"
_ENDS, _EVERY = 2048, 61  # rows compared first: these many at either end, and every 61st row


def stored_config(texts: ModelTexts, tensors: TensorFiles) -> ModelConfig:
    """Return the configuration of a model folder with `tie_word_embeddings` corrected by its tensors.

    Trainers write tied heads or leave them out, and forget the key. Without a head, the head is the embedding. If the
    files have both and config.json ties them, some rows are compared here, and `check_twin` compares the others when
    they are read.
    """
    config = texts.config
    if not texts.purpose.needs_head:
        return config
    has_head = any(name.startswith(HEAD.removesuffix("weight")) for name in tensors)
    tied = not has_head or (config.tie_word_embeddings and not _differ(tensors))
    if tied != config.tie_word_embeddings:
        reason = "the files have no head" if tied else f"{EMBEDDING} has other values than {HEAD}"
        _logger.info("%s: %s is treated as %s, because %s", tensors.path, _TIE, tied, reason)
    return replace(config, tie_word_embeddings=tied)


def with_config(texts: ModelTexts, config: ModelConfig) -> ModelTexts:
    """Return texts with a configuration that differs in `tie_word_embeddings`."""
    if config == texts.config:
        return texts
    changed = json.loads(texts.config_json) | {_TIE: config.tie_word_embeddings}
    return replace(texts, config=config, config_json=json.dumps(changed, indent=2).encode())


def check_twin(tensors: TensorFiles, first: int, last: int) -> None:
    """Compare rows [first, last) of an embedding with those of a head that is treated as tied.

    Raises CheckpointError when a row differs.
    """
    other = np.flatnonzero(_differing(tensors, slice(first, last)))
    if len(other):
        raise CheckpointError(
            f"{tensors.where(HEAD)}: expected the values of {EMBEDDING}, to which config.json ties it, found others in "
            f"row {first + int(other[0])}; write {_TIE} false into config.json"
        )


def has_twin(config: ModelConfig, tensors: TensorFiles) -> bool:
    """Whether the files have a head although it is tied to the embedding."""
    return config.tie_word_embeddings and HEAD in tensors and tensors.entry(HEAD).dtype in FLOATS


def _differ(tensors: TensorFiles) -> bool:
    """Whether a head has other values than the embedding, by some rows. A quantised head is not compared: False."""
    if HEAD not in tensors or EMBEDDING not in tensors or tensors.entry(HEAD).dtype not in FLOATS:
        return False
    shape = tensors.entry(EMBEDDING).shape
    if shape != tensors.entry(HEAD).shape or len(shape) != 2 or tensors.entry(EMBEDDING).dtype not in FLOATS:
        return True
    rows = np.arange(shape[0])
    chosen = rows[(rows < _ENDS) | (rows >= len(rows) - _ENDS) | (rows % _EVERY == 0)]
    return any(_differing(tensors, part).any() for part in np.array_split(chosen, -(-len(chosen) // 256)))


def _differing(tensors: TensorFiles, rows: Any) -> NDArray[np.bool_]:
    """Return for each of the given rows whether embedding and head differ, bool [rows]."""
    mine, its = (tensors.array(name)[rows] for name in (EMBEDDING, HEAD))
    if tensors.entry(EMBEDDING).dtype != tensors.entry(HEAD).dtype or not np.array_equal(mine, its):
        mine, its = as_float32(mine), as_float32(its)
    differing: NDArray[np.bool_] = (mine != its).any(1)
    return differing
