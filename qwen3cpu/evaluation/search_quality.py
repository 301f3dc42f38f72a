"""Measures what a weight format costs a model for search: changes of vectors or scores, and of their order.

The text is cut into passages of equal length. An embedding model makes a vector of each. For a reranker, a question is
the first half of a passage, and the documents are the second halves of all passages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.quality import FormatNumbers, check_windows
from qwen3cpu.model import Model
from qwen3cpu.system.progress_bar import Progress

NEAREST: Final = 10
"""Neighbours of a passage that are compared, or all other passages if there are fewer."""
QUESTIONS: Final = 20
"""Most questions for a reranker. For each of them all passages are scored."""


@dataclass(frozen=True)
class EmbeddingQuality(FormatNumbers):
    """The numbers of one format of an embedding model.

    Attributes:
        passages: number of passages.
        window: tokens of each.
        mean_cosine: mean cosine between a passage's vectors by format and reference.
        cosine_1: first percentile of these cosines.
        same_nearest: share of passages (0..1) whose nearest other passage is the same.
        same_neighbours: share of the ten nearest that are the same.
    """

    passages: int
    window: int
    mean_cosine: float
    cosine_1: float
    same_nearest: float
    same_neighbours: float


@dataclass(frozen=True)
class RerankingQuality(FormatNumbers):
    """The numbers of one format of a reranker.

    Attributes:
        questions: number of questions.
        passages: number of passages.
        window: tokens of each.
        mean_difference: mean absolute difference of the scores (0..1) by format and reference.
        difference_99: 99th percentile of these differences.
        same_first: share of questions (0..1) with the same document first.
        rank_correlation: Kendall's tau of the orders, the mean over the questions; 1 is the same order.
    """

    questions: int
    passages: int
    window: int
    mean_difference: float
    difference_99: float
    same_first: float
    rank_correlation: float


def evaluate_embedding(
    models: Mapping[str, Model], reference: Model, text: str, *, windows: int, window: int, progress: Progress | None
) -> list[EmbeddingQuality]:
    """Compare embedding models with a reference on the first passages of a text. See `evaluate` in quality.py."""
    passages = _passages(models, reference, text, windows, window)
    vectors = _vectors(reference, passages, progress)
    results = []
    for name, model in models.items():
        found = _vectors(model, passages, progress)
        cosines = np.einsum("ij,ij->i", vectors, found)
        own, other = (_neighbours(each, min(NEAREST, len(passages) - 1)) for each in (vectors, found))
        results.append(
            EmbeddingQuality(
                name,
                model.weight_bytes,
                reference.quant,
                len(passages),
                window,
                float(cosines.mean()),
                float(np.quantile(cosines, 0.01)),
                float((own[:, 0] == other[:, 0]).mean()),
                float(np.mean([np.isin(a, b).mean() for a, b in zip(own, other, strict=True)])),
            )
        )
    return results


def evaluate_reranking(
    models: Mapping[str, Model], reference: Model, text: str, *, windows: int, window: int, progress: Progress | None
) -> list[RerankingQuality]:
    """Compare rerankers with a reference on the first passages of a text. See `evaluate` in quality.py."""
    passages = _passages(models, reference, text, windows, window)
    expected = _scores(reference, passages, progress)
    results = []
    for name, model in models.items():
        found = _scores(model, passages, progress)
        distances = np.abs(expected - found)
        results.append(
            RerankingQuality(
                name,
                model.weight_bytes,
                reference.quant,
                len(expected),
                len(passages),
                window,
                float(distances.mean()),
                float(np.quantile(distances, 0.99)),
                float((expected.argmax(1) == found.argmax(1)).mean()),
                float(np.mean([_kendall(a, b) for a, b in zip(expected, found, strict=True)])),
            )
        )
    return results


def _passages(
    models: Mapping[str, Model], reference: Model, text: str, windows: int, window: int
) -> list[tuple[str, str]]:
    """Cut a text into passages, and return the two halves of each."""
    check_windows(windows, window, least=2)
    tokenizer = reference.tokenizer
    ids = tokenizer.encode(text)
    count = min(windows, len(ids) // window)
    if count < 2:
        raise ArgumentError(f"text: expected at least two passages of {window} tokens, found {len(ids)} tokens")
    for name, model in models.items():
        if model.config.hidden_size != reference.config.hidden_size or model.tokenizer.encode(text[:1000]) != (
            tokenizer.encode(text[:1000])
        ):
            raise ArgumentError(f"{name}: its tokens or dimensions are not those of the reference {reference.source}")
    half = window // 2
    starts = range(0, count * window, window)
    return [(tokenizer.decode(ids[at : at + half]), tokenizer.decode(ids[at + half : at + window])) for at in starts]


def _vectors(model: Model, passages: list[tuple[str, str]], progress: Progress | None) -> NDArray[np.float64]:
    found: NDArray[np.float32] = model.embed([first + second for first, second in passages], progress=progress)
    return found.astype(np.float64)


def _neighbours(vectors: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the indices [passages, count] of the nearest other passages, the nearest first."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]


def _scores(model: Model, passages: list[tuple[str, str]], progress: Progress | None) -> NDArray[np.float64]:
    """Return the scores of the documents for each question, [questions, passages]."""
    documents = [second for _, second in passages]
    return np.stack([model.rerank(first, documents, progress=progress).scores for first, _ in passages[:QUESTIONS]])


def _kendall(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Kendall's tau of two lists of scores. A pair that is tied in both counts as the same order."""
    above = np.triu_indices(len(first), 1)
    signs = [np.sign(each[:, None] - each)[above] for each in (first, second)]
    return float(np.where(signs[0] == signs[1], 1, signs[0] * signs[1]).mean())
