"""Computes scores and the order of documents from a reranker's logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import whole_number

_LARGEST: Final = math.nextafter(1.0, 0.0)
_LEAST: Final = math.nextafter(0.0, 1.0)


@dataclass(frozen=True)
class Ranking:
    """How well documents answer a query. Iterating gives (place, score), best first.

    Attributes:
        scores: float64 [documents], between 0 and 1, in the order of the given documents.
        order: places of the documents in that list, best first, at most top_n. Equal scores keep the given order.
    """

    scores: NDArray[np.float64]
    order: list[int]

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return ((place, float(self.scores[place])) for place in self.order)

    def __len__(self) -> int:
        return len(self.order)


def check_top_n(top_n: object) -> None:
    """Raise ArgumentError unless `top_n` is None or a number of documents."""
    if top_n is not None:
        whole_number("top_n", top_n, 1, what="a number of documents")


def ranking(logits: list[float], top_n: int | None) -> Ranking:
    """Rank documents by the logits of their scores."""
    order = sorted(range(len(logits)), key=lambda place: -logits[place])
    return Ranking(np.array([_sigmoid(logit) for logit in logits], np.float64), order[:top_n])


def _sigmoid(logit: float) -> float:
    """Return `1 / (1 + exp(-logit))`, kept inside (0, 1) when rounding would give 0 or 1."""
    small = math.exp(-abs(logit))
    value = 1 / (1 + small) if logit >= 0 else small / (1 + small)
    return min(max(value, _LEAST), _LARGEST)
