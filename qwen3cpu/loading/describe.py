"""Describes what a model would be once it is loaded (shapes, formats, purpose, sizes) without reading its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.checkpoint.yarn import longest_context, scaled_config
from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS
from qwen3cpu.engine.sequence import block_count
from qwen3cpu.loading.locate import locate
from qwen3cpu.loading.memory_plan import needs
from qwen3cpu.loading.sources import may_be_packed, open_unpacked
from qwen3cpu.packed.matrix import MatrixLayout, plan_matrices
from qwen3cpu.packed.packed_file import PackedFile

_THINK: Final = b'"<think>"'
_CALL: Final = b'"<tool_call>"'


@dataclass(frozen=True)
class Description:
    """A model, loaded or not.

    Attributes:
        config: shapes and constants, as `load` would run it.
        task: what it was made for.
        quant: weight format.
        context: positions that a sequence may hold.
        weight_bytes: size of all weights in memory.
        kv_block_bytes: size of a block of the KV cache.
        workspace_bytes: size of the engine's workspace for a piece of a prompt.
        fingerprint: identifies the checkpoint.
        defaults: generation_config.json.
        chat_template: the text of the template.
        thinks: whether it has a token with which reasoning begins.
        calls: whether it has a token with which tool calls begin.
        draft: the smaller model that drafts its answers; None: there is none.
    """

    config: ModelConfig
    task: Task
    quant: str
    context: int
    weight_bytes: int
    kv_block_bytes: int
    workspace_bytes: int
    fingerprint: str
    defaults: GenerationDefaults
    chat_template: str | None
    thinks: bool
    calls: bool
    draft: Description | None = None

    @property
    def context_kv_bytes(self) -> int:
        """Bytes of the KV cache that one answer may need: a full context, and a last block shared with others."""
        return (block_count(self.context) + 1) * self.kv_block_bytes

    @property
    def draft_bytes(self) -> int:
        """Bytes of the smaller model: weights, workspace, and a KV cache that holds one answer."""
        small = self.draft
        if small is None:
            return 0
        blocks = block_count(min(self.context, small.context)) + 1
        return small.weight_bytes + small.workspace_bytes + blocks * small.kv_block_bytes


def describe(
    source: str | os.PathLike[str],
    quant: str | None = None,
    kv: str = "f16",
    context: int | None = None,
    rope_scaling: Mapping[str, Any] | None = None,
    task: Task | None = None,
    draft: str | os.PathLike[str] | None = None,
    *,
    threads: int,
    activations: str = DEFAULT_ACTIVATIONS,
) -> Description:
    """Describe what `load` would make of the same arguments. A hub id is downloaded; weights are opened but not read.

    Raises:
        CheckpointError, ConfigError, DownloadError, ArgumentError: as for `load`.
    """
    located = locate(source)
    plan: Mapping[str, MatrixLayout]
    if may_be_packed(located.path):
        file = PackedFile(located.path)
        texts, fingerprint, quant, plan = file.texts, file.fingerprint, file.quant, file.plan
    else:
        opened = open_unpacked(located.path, located.label)
        texts, fingerprint = opened.read_texts(), opened.weights.fingerprint()
        quant = quant or opened.preferred_quant
        plan = plan_matrices(texts.config, quant, opened.weights)
    config = scaled_config(texts.config, context, rope_scaling, located.name)
    found = needs(texts.config, plan, kv, _native.KV_BLOCK, threads, activations)
    return Description(
        config=config,
        task=texts.purpose.chosen(task, located.name).task,
        quant=quant,
        context=context or longest_context(config),
        weight_bytes=found.weight_bytes,
        kv_block_bytes=found.kv_bytes,
        workspace_bytes=found.workspace_bytes,
        fingerprint=fingerprint,
        defaults=texts.generation,
        chat_template=texts.chat_template,
        # Building the tokenizer to find out would take half a second.
        thinks=_THINK in texts.tokenizer_json,
        calls=_CALL in texts.tokenizer_json,
        draft=None if draft is None else describe(draft, kv=kv, threads=threads),
    )
