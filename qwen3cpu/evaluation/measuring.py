"""Measures what a weight format costs a model, with the metrics for the model's task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.checkpoint.tensors import Quant
from qwen3cpu.evaluation.quality import WINDOW, Quality, evaluate
from qwen3cpu.evaluation.search_quality import (
    EmbeddingQuality,
    RerankingQuality,
    evaluate_embedding,
    evaluate_reranking,
)
from qwen3cpu.model import Model, load
from qwen3cpu.system.progress_bar import Progress

AnyQuality: TypeAlias = Quality | EmbeddingQuality | RerankingQuality

REFERENCE: Final = "bf16"
PARTS: Final = {"generation": (20, WINDOW), "embedding": (200, 64), "reranking": (20, 128)}
"""Task -> default number of windows or passages, and tokens of each."""


def measure(
    models: Mapping[str, Model],
    reference: Model,
    text: str,
    *,
    windows: int | None = None,
    window: int | None = None,
    progress: Progress | None = None,
) -> Sequence[AnyQuality]:
    """Compare models with a reference of the same kind on the beginning of a text.

    Args:
        models: name in the results (the `quant`) -> model.
        reference: the same model in its own precision.
        text: used without changes. A shorter text gives as many whole windows as it has.
        windows: most windows; default: see PARTS.
        window: tokens of each, an even number from 4; default: see PARTS.
        progress: shows the progress.

    Raises:
        ArgumentError: invalid sizes, a text that is too short, or models with other vocabularies.
    """
    most, length = PARTS[reference.task]
    most, length = most if windows is None else windows, length if window is None else window
    if reference.task == "embedding":
        return evaluate_embedding(models, reference, text, windows=most, window=length, progress=progress)
    if reference.task == "reranking":
        return evaluate_reranking(models, reference, text, windows=most, window=length, progress=progress)
    return evaluate(models, reference, text, windows=most, window=length, progress=progress)


def measure_source(
    source: str | os.PathLike[str],
    text: str,
    quants: Sequence[Quant],
    *,
    windows: int | None = None,
    window: int | None = None,
    threads: int | None = None,
    task: Task | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> list[AnyQuality]:
    """Compare a checkpoint in several weight formats with itself in bf16. One format is in memory at a time.

    source, threads, task, cache: as for `load`. Other arguments and errors: as for `measure`.
    """
    reference = load(source, REFERENCE, threads=threads, task=task, cache=False, progress=progress)
    results: list[AnyQuality] = []
    for quant in quants:
        model = load(source, quant, threads=threads, task=task, cache=cache, progress=progress)
        results += measure({quant: model}, reference, text, windows=windows, window=window, progress=progress)
        del model
    return results
