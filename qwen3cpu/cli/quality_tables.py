"""Shows what weight formats cost: tables, a drawing, and a line for `qwen3cpu inspect`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.measuring import AnyQuality
from qwen3cpu.evaluation.quality import Quality
from qwen3cpu.evaluation.search_quality import EmbeddingQuality, RerankingQuality
from qwen3cpu.system.outputs import check_output


class _Form(NamedTuple):
    """How one kind of result is shown. Names in the formats stand for its fields."""

    columns: Mapping[str, str]
    """Title -> format of a cell."""
    reference: Sequence[str]
    """Formats of the cells of the reference."""
    below: str
    loss: str
    """The label of the vertical axis of the drawing."""
    drawn: Mapping[str, str]
    """Field -> its name in the drawing; fields that are better when larger are drawn as 1 minus them."""
    line: str


_FORMS: Final = {
    Quality: _Form(
        {
            "perplexity": "{perplexity:.3f}",
            "mean KL": "{mean_kl:.5f}",
            "99 % KL": "{kl_99:.4f}",
            "same top": "{same_top:.1%}",
        },
        ("{reference_perplexity:.3f}", "0", "0", "100%"),
        "{windows} windows of {window} tokens, {positions} positions scored",
        "KL divergence from {reference}, nats",
        {"mean_kl": "mean", "kl_99": "99th percentile"},
        "KL {mean_kl:.4g} mean, {kl_99:.4g} 99 %; same top token {same_top:.1%}; perplexity {perplexity:.4g} "
        "({reference}: {reference_perplexity:.4g}); {positions:,} tokens of {text}",
    ),
    EmbeddingQuality: _Form(
        {
            "mean cosine": "{mean_cosine:.5f}",
            "1 % cosine": "{cosine_1:.5f}",
            "same nearest": "{same_nearest:.1%}",
            "same ten": "{same_neighbours:.1%}",
        },
        ("1", "1", "100%", "100%"),
        "{passages} passages of {window} tokens",
        "1 - cosine with {reference}",
        {"mean_cosine": "mean", "cosine_1": "lowest percentile"},
        "cosine with {reference} {mean_cosine:.5f} mean, {cosine_1:.5f} 1 %; same nearest passage {same_nearest:.1%}, "
        "ten nearest {same_neighbours:.1%}; {passages:,} passages of {text}",
    ),
    RerankingQuality: _Form(
        {
            "mean difference": "{mean_difference:.5f}",
            "99 %": "{difference_99:.4f}",
            "same first": "{same_first:.1%}",
            "Kendall's tau": "{rank_correlation:.4f}",
        },
        ("0", "0", "100%", "1"),
        "{questions} questions, {passages} passages of {window} tokens",
        "difference of scores from {reference}",
        {"mean_difference": "mean", "difference_99": "99th percentile"},
        "scores differ from {reference} by {mean_difference:.4g} mean, {difference_99:.4g} 99 %; same first document "
        "{same_first:.1%}; Kendall's tau {rank_correlation:.4f}; {questions} questions of {text}",
    ),
}


_PICTURES: Final = (b"\x89PNG", b"%PDF", b"<?xml", b"%!PS", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"GIF8")
"""First bytes of pictures: PNG, PDF, SVG, PostScript, JPEG, WebP, TIFF and GIF."""


def as_table(results: Sequence[AnyQuality]) -> str:
    """A line for each format, the reference first."""
    first = results[0].to_dict()
    form = _FORMS[type(results[0])]
    rows = [
        ("format", "MiB", *form.columns),
        (first["reference"], "", *(_filled(cell, first) for cell in form.reference)),
    ]
    for each in results:
        values = each.to_dict()
        cells = (_filled(cell, values) for cell in form.columns.values())
        rows.append((each.quant, f"{each.weight_bytes / 2**20:.1f}", *cells))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.append(_filled(form.below, first))
    return "\n".join(lines)


def as_line(receipt: Mapping[str, Any]) -> str:
    """The receipt that a packed file keeps, in one line."""
    (form,) = (form for kind, form in _FORMS.items() if {field.name for field in fields(kind)} <= set(receipt))
    return _filled(form.line, receipt)


def _filled(text: str, values: Mapping[str, Any]) -> str:
    return text.format(**values).replace("%", " %").replace("  %", " %")


def check_plotting(path: Path, inputs: Sequence[str | os.PathLike[str]]) -> None:
    """Raise ArgumentError when `plot` would fail, or replace another file. Call it before the measurement.

    Args:
        path: of the picture.
        inputs: files that the measurement reads.
    """
    check_output("--plot", path, "a picture", _PICTURES, inputs)
    if importlib.util.find_spec("matplotlib") is None:
        raise ArgumentError("--plot: needs matplotlib: pip install 'qwen3cpu[plot]'")


def plot(results: Sequence[AnyQuality], path: Path) -> None:
    """Draw the loss over the bytes of the weights, in the format of the file's suffix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    form = _FORMS[type(results[0])]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    sizes = [result.weight_bytes / 2**20 for result in results]
    losses: dict[str, list[float]] = {}
    for (field, name), mark in zip(form.drawn.items(), ("o", "^"), strict=True):
        values = [result.to_dict()[field] for result in results]
        losses[name] = [1 - value for value in values] if "cosine" in field else values
        axes.plot(sizes, losses[name], mark, label=name)
    for size, height, result in zip(sizes, losses["mean"], results, strict=True):
        axes.annotate(result.quant, (size, height), xytext=(6, 4), textcoords="offset points")
    axes.set_yscale("log")
    axes.set_xlabel("weights, MiB")
    axes.set_ylabel(form.loss.format(**results[0].to_dict()))
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as reason:
        raise ArgumentError(f"--plot: {path} cannot be written: {reason}") from reason
    finally:
        pyplot.close(figure)
