"""Measures what a weight format costs: how its predictions on a text differ from those of the unrounded weights.

The text is cut into windows of equal length, which are read independently. Only the tokens in the second half of a
window are scored, so each has at least half a window before it. KL, perplexity and agreement are defined as in
llama.cpp's perplexity tool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.quantization.divergence import log_softmax
from qwen3cpu.system.progress_bar import Progress

WINDOW: Final = 512


@dataclass(frozen=True)
class FormatNumbers:
    """The numbers that all kinds of models have: the format, its bytes, and the format of the reference."""

    quant: str
    weight_bytes: int
    reference: str

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Quality(FormatNumbers):
    """The numbers of one format. Divergences are KL(reference || format) in nats, over all scored positions.

    same_top: share of positions (0..1) where format and reference have the same likeliest token.
    """

    windows: int
    window: int
    positions: int
    perplexity: float
    reference_perplexity: float
    mean_kl: float
    kl_99: float
    same_top: float


def check_windows(windows: int, window: int, least: int) -> None:
    """Raise ArgumentError for fewer than `least` windows, or a window without two halves of two tokens or more."""
    if windows < least:
        raise ArgumentError(f"windows: expected at least {least}, found {windows}")
    if window < 4 or window % 2:
        raise ArgumentError(f"window: expected an even number of tokens from 4, found {window}")


def evaluate(
    models: Mapping[str, Model],
    reference: Model,
    text: str,
    *,
    windows: int = 20,
    window: int = WINDOW,
    progress: Progress | None = None,
) -> list[Quality]:
    """Compare models with a reference on the first windows of a text.

    Args:
        models: name in the results (the `quant`) -> model.
        reference: the same model in its own precision.
        text: used without changes. A shorter text gives as many whole windows as it has.
        windows: most windows.
        window: tokens of each, an even number from 4.
        progress: advances by one for each window.

    Raises:
        ArgumentError: invalid sizes, a text of less than one window, or models with other vocabularies.
    """
    check_windows(windows, window, least=1)
    ids = reference.tokenizer.encode(text)
    count = min(windows, len(ids) // window)
    if count == 0:
        raise ArgumentError(f"text: expected at least one window of {window} tokens, found {len(ids)} tokens")
    for name, model in models.items():
        if model.config.vocab_size != reference.config.vocab_size or model.tokenizer.encode(text[:1000]) != (
            reference.tokenizer.encode(text[:1000])
        ):
            raise ArgumentError(f"{name}: its tokens are not those of the reference {reference.source}")
    tallies = {name: _Tally() for name in models}
    own = _Tally()
    if progress is not None:
        progress.start("Comparing", count, "windows")
    for first in range(0, count * window, window):
        piece = ids[first : first + window]
        expected = list(_second_half(reference, piece))
        for logprobs, targets in expected:
            own.add(logprobs, logprobs, targets)
        for name, model in models.items():
            for (p, targets), (q, _) in zip(expected, _second_half(model, piece), strict=True):
                tallies[name].add(p, q, targets)
        if progress is not None:
            progress.advance(1)
    return [
        Quality(
            name,
            model.weight_bytes,
            reference.quant,
            count,
            window,
            tallies[name].positions,
            tallies[name].perplexity(),
            own.perplexity(),
            float(np.concatenate(tallies[name].kl).mean()),
            float(np.quantile(np.concatenate(tallies[name].kl), 0.99)),
            tallies[name].same / tallies[name].positions,
        )
        for name, model in models.items()
    ]


class _Tally:
    def __init__(self) -> None:
        self.kl: list[NDArray[np.float64]] = []
        self.positions = 0
        self.same = 0
        self._surprise = 0.0

    def add(self, p: NDArray[np.float32], q: NDArray[np.float32], targets: NDArray[np.int64]) -> None:
        """Add log-probabilities [n, vocab_size] of reference (p) and model (q), and the tokens [n] of the text."""
        self.kl.append(np.einsum("ij,ij->i", np.exp(p), p - q, dtype=np.float64))
        self.positions += len(targets)
        self.same += int((p.argmax(1) == q.argmax(1)).sum())
        self._surprise -= float(q[np.arange(len(targets)), targets].sum(dtype=np.float64))

    def perplexity(self) -> float:
        return float(np.exp(self._surprise / self.positions))


def _second_half(model: Model, ids: Sequence[int]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yield (log-probabilities [n, vocab_size], next tokens [n]) of scored positions, a part of a window at a time."""
    tokens = np.array(ids, np.int64)
    half = len(ids) // 2
    for start, logits in model.engine.every_logit(ids[:-1]):
        wanted = logits[max(half - start, 0) :]
        if len(wanted):
            first = max(half, start)
            yield log_softmax(wanted), tokens[first + 1 : first + 1 + len(wanted)]
