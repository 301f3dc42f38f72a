"""Runs whole jobs of an embedder or a reranker: results in one array, a progress bar, asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import LOADING, unknown_name
from qwen3cpu.errors import ArgumentError
from qwen3cpu.retrieval.embedder import Embedder
from qwen3cpu.retrieval.options import EmbedOptions, RerankOptions
from qwen3cpu.retrieval.ranking import Ranking, check_top_n, ranking
from qwen3cpu.retrieval.reranker import Reranker
from qwen3cpu.retrieval.texts import Text
from qwen3cpu.retrieval.window import WINDOW
from qwen3cpu.system.asyncio_steps import steps
from qwen3cpu.system.progress_bar import Progress, check_progress

_SHOWN_FROM: Final = WINDOW
"""Least texts for which a progress bar is shown."""


def embed(
    embedder: Embedder, texts: Text | Iterable[Text], progress: Progress | None, options: Mapping[str, Any]
) -> NDArray[Any]:
    """See `Model.embed`."""
    one = isinstance(texts, str)
    given: Any = [texts] if one else texts
    checked = _checked(options, EmbedOptions)
    windows = embedder.windows(given, **checked)
    count = len(given) if isinstance(given, Sized) else None
    with _bar("Embedding", count, progress) as bar:
        found = []
        for window in windows:
            found.append(window)
            bar.advance(len(window))
    vectors = np.concatenate(found) if found else embedder.no_vectors(**checked)
    return vectors[0] if one else vectors


async def aembed(embedder: Embedder, texts: Text | Iterable[Text], options: Mapping[str, Any]) -> NDArray[Any]:
    """See `Model.aembed`."""
    one = isinstance(texts, str)
    given: Any = [texts] if one else texts
    checked = _checked(options, EmbedOptions)
    found = []
    async with aclosing(steps(lambda: embedder.windows(given, **checked))) as windows:
        async for window in windows:
            found.append(window)
    vectors = np.concatenate(found) if found else embedder.no_vectors(**checked)
    return vectors[0] if one else vectors


def rerank(
    reranker: Reranker, query: str, documents: Sequence[str], progress: Progress | None, options: Mapping[str, Any]
) -> Ranking:
    """See `Model.rerank`."""
    checked = _checked(options, RerankOptions)
    top_n = checked.pop("top_n", None)
    check_top_n(top_n)
    logits = reranker.logits(query, documents, **checked)
    with _bar("Reranking", len(documents), progress) as bar:
        found = []
        for logit in logits:
            found.append(logit)
            bar.advance(1)
    return ranking(found, top_n)


def _checked(options: Mapping[str, Any], known: Any) -> dict[str, Any]:
    """Copy options. Raises ArgumentError for a name that is not a key of the TypedDict `known`."""
    for name in options:
        if name not in known.__annotations__:
            hint = unknown_name(name, known.__annotations__, {"qwen3cpu.load": LOADING})
            raise ArgumentError(f"unknown option {name!r}; {hint}")
    return dict(options)


def _bar(description: str, count: int | None, progress: Progress | None) -> AbstractContextManager[Progress]:
    """Return the bar of a job: the given one, a new one, or for a small job one that is never shown."""
    check_progress(progress)
    if progress is not None:
        progress.start(description, count, "texts")
        return nullcontext(progress)
    bar = Progress(description, count, "texts")
    return nullcontext(bar) if count is not None and count < _SHOWN_FROM else bar
