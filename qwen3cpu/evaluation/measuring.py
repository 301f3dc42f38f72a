"""Measures what a weight format costs a model, with the metrics for the model's task."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.checkpoint.tensors import Quant
from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS, Activations
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


def name_of(quant: str, activations: str) -> str:
    """The name of a weight format in results: with the activations, unless they are the default."""
    return quant if activations == DEFAULT_ACTIVATIONS else f"{quant} {activations}"


def measure_source(
    source: str | os.PathLike[str],
    text: str,
    quants: Sequence[Quant],
    *,
    activations: Sequence[Activations] = (DEFAULT_ACTIVATIONS,),
    windows: int | None = None,
    window: int | None = None,
    threads: int | None = None,
    task: Task | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> list[AnyQuality]:
    """Compare a checkpoint in several weight formats with itself in bf16. One format is in memory at a time.

    activations: each format is measured with each of these. source, threads, task, cache: as for `load`. Other
    arguments and errors: as for `measure`.
    """
    reference = load(source, REFERENCE, threads=threads, task=task, cache=False, progress=progress)
    results: list[AnyQuality] = []
    for quant, inputs in itertools.product(quants, activations):
        model = load(source, quant, activations=inputs, threads=threads, task=task, cache=cache, progress=progress)
        models = {name_of(quant, inputs): model}
        results += measure(models, reference, text, windows=windows, window=window, progress=progress)
        del model, models
    return results
