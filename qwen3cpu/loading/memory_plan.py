"""The memory plan of a model: bytes of weights, KV cache and workspace, and bytes that decoding reads for a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import LAYERS, logits_matrix, tensors_of, vector_lengths, vocabulary_matrices
from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS
from qwen3cpu.engine.sequence import block_count
from qwen3cpu.packed.matrix import MatrixLayout

# Resident memory beside weights, KV cache and workspace is 47, 56 and 76 MB for vocabularies of 512, 49,152 and 151,936
# tokens. Measured with bench/start.py on Linux, Python 3.11.
_PROCESS_BYTES: Final = 47_000_000
_VOCABULARY_BYTES: Final = 187  # for each token: tables of the tokenizer, logits, the sampler's work


@dataclass(frozen=True)
class Needs:
    """Memory of one model with one sequence of `context` positions, in bytes, and what it reads for a token."""

    context: int
    weight_bytes: int
    kv_bytes: int
    workspace_bytes: int
    process_bytes: int
    """Python, its modules and the tokenizer."""
    read_bytes: int
    """Read for a token at the end of the context: layers, head, KV cache."""
    read_bytes_at_start: int
    """Read for the first token."""
    draft_bytes: int = 0
    """Needed by a smaller model that drafts: weights, KV cache of the same context, workspace and tokenizer."""

    @property
    def total_bytes(self) -> int:
        """The largest resident memory, once the context has been filled."""
        return self.weight_bytes + self.kv_bytes + self.workspace_bytes + self.process_bytes + self.draft_bytes

    def with_draft(self, small: Needs) -> Needs:
        """Add a smaller model that drafts. `small` is what that model needs in a process of its own."""
        return replace(self, draft_bytes=small.total_bytes - _PROCESS_BYTES)


def needs(
    config: ModelConfig,
    matrices: Mapping[str, MatrixLayout],
    kv: str,
    context: int,
    threads: int,
    activations: str = DEFAULT_ACTIVATIONS,
) -> Needs:
    """Compute what a model will need.

    Args:
        config: shapes of the model.
        matrices: name -> format and shape of each, as `plan_matrices` or a packed file gives them.
        kv: format of the KV cache.
        context: positions that one sequence will fill.
        threads: number of threads. Each has a workspace of its own.
        activations: what the inputs of quantised matrices are rounded to.
    """
    block_bytes, workspace_bytes = _engine_bytes(config, matrices, kv, threads, activations)
    weights = weight_bytes(config, matrices)
    tables = vocabulary_matrices(config)
    layers = weights - sum(matrix.bytes for name, matrix in matrices.items() if name in tables)
    read = layers - _not_chosen(config, matrices) + matrices[logits_matrix(config)].bytes
    return Needs(
        context=context,
        weight_bytes=weights,
        kv_bytes=block_count(context) * block_bytes,
        workspace_bytes=workspace_bytes,
        process_bytes=_PROCESS_BYTES + _VOCABULARY_BYTES * config.vocab_size,
        read_bytes=read + context * block_bytes // _native.KV_BLOCK,
        read_bytes_at_start=read,
    )


def _not_chosen(config: ModelConfig, matrices: Mapping[str, MatrixLayout]) -> int:
    """Bytes of the experts that the router does not choose for a token."""
    if config.experts is None:
        return 0
    experts = sum(matrices[each.name].bytes for each in tensors_of(config) if each.copy is not None)
    return experts * (config.experts.count - config.experts.chosen) // config.experts.count


def weight_bytes(config: ModelConfig, matrices: Mapping[str, MatrixLayout]) -> int:
    """Bytes of all weights in memory; arguments as for `needs`."""
    return 4 * sum(vector_lengths(config).values()) + sum(matrix.bytes for matrix in matrices.values())


def _engine_bytes(
    config: ModelConfig, matrices: Mapping[str, MatrixLayout], kv: str, threads: int, activations: str
) -> tuple[int, int]:
    """Measure (bytes of a block of the KV cache, workspace for a piece of a prompt) with a small engine.

    The engine gets one layer of the model and a vocabulary of one row tile, all zeros. Such untouched memory takes no
    room. The workspace grows by the same amount for each token, so two small passes tell what a large one takes.
    """
    # A layer with experts needs more than a dense one.
    number = next((n for n in range(config.num_hidden_layers) if config.has_experts(n)), 0)
    prefix = f"{LAYERS}{number}."
    first = {
        f"{LAYERS}0.{name.removeprefix(prefix)}": matrix for name, matrix in matrices.items() if name.startswith(prefix)
    }
    for name in vocabulary_matrices(config):
        first[name] = MatrixLayout(matrices[name].format, _native.TILE_ROWS, config.hidden_size)
    layer = config.alone(number, _native.TILE_ROWS)
    model = _native.Model(
        layer.native(_native.KV_BLOCK, int16_inputs=activations == "int16"),
        {name: layout.with_data(layout.room()) for name, layout in first.items()},
        {name: np.zeros(length, dtype=np.float32) for name, length in vector_lengths(layer).items()},
        kv,
        threads,
    )
    one, two = (_workspace_after(model, tokens) for tokens in (1, 2))
    return model.kv_block_bytes() * config.num_hidden_layers, one + (CHUNK - 1) * (two - one)


def _workspace_after(model: _native.Model, tokens: int) -> int:
    model.forward([(model.new_sequence(), np.zeros(tokens, dtype=np.int32), np.zeros(0, dtype=np.int32))])
    return model.workspace_bytes()
