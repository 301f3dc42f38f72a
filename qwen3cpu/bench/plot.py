"""Plots the records: tokens per second over the context, and the roofline. Needs matplotlib (extra `plot`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from qwen3cpu.bench.errors import BenchError
from qwen3cpu.bench.report import Record
from qwen3cpu.system.outputs import check_output


def plotter(path: Path) -> Callable[[Sequence[Record]], None]:
    """Check that a picture can be written to `path`, before hours of measuring; return the function that writes it.

    Raises:
        BenchError: matplotlib is missing, the name does not end in .png, or the folder does not exist.
    """
    if path.suffix.lower() != ".png":
        raise BenchError(f"--plot: expected a name ending in .png, found {str(path)!r}")
    if not path.absolute().parent.is_dir():
        raise BenchError(f"--plot: {path.absolute().parent}: no such folder")
    check_output("--plot", path, "a PNG picture", (b"\x89PNG",))
    try:
        # By name, because type checking must not need the extra.
        figure_class = import_module("matplotlib.figure").Figure
    except ImportError:
        raise BenchError("--plot needs matplotlib: pip install 'qwen3cpu[plot]'") from None

    def write(records: Sequence[Record]) -> None:
        figure = figure_class(figsize=(12, 5), layout="constrained")
        over_context, roofline = figure.subplots(1, 2)
        _draw_over_context(over_context, records)
        _draw_roofline(roofline, records)
        first = records[0]
        figure.suptitle(f"{first.model}; {first.cpu}, {first.isa}", fontsize="medium")
        part = path.with_name(f".{path.name}.part")
        try:
            figure.savefig(part, format="png", dpi=150)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    return write


def _settings(record: Record) -> str:
    """The label of a line in the plot: the settings that its points share."""
    kind = f"prompt {record.n_prompt}" if record.n_prompt else "decode"
    threads = f"{record.threads} thread" + ("s" if record.threads > 1 else "")
    together = f", {record.batch} sequences" if record.batch > 1 else ""
    return f"{kind}, {record.quant}, kv {record.kv}, {threads}{together}"


def _draw_over_context(axes: Any, records: Sequence[Record]) -> None:
    lines: dict[str, list[Record]] = {}
    for record in records:
        lines.setdefault(_settings(record), []).append(record)
    for number, (label, points) in enumerate(lines.items()):
        points.sort(key=lambda record: record.depth)
        speeds = [record.tokens_per_second for record in points]
        below = [speed.median - speed.min for speed in speeds]
        above = [speed.max - speed.median for speed in speeds]
        axes.errorbar(
            [record.depth for record in points],
            [speed.median for speed in speeds],
            yerr=(below, above),
            label=label,
            color=f"C{number % 10}",
            marker="o",
            capsize=3,
            linestyle="--" if points[0].n_prompt else "-",
        )
    axes.set(xlabel="tokens of context", ylabel="tokens per second, all sequences", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")


def _draw_roofline(axes: Any, records: Sequence[Record]) -> None:
    intensities = [record.macs_per_token / record.bytes_per_token for record in records]
    left, right = min(intensities) / 2, max(intensities) * 2
    for threads in sorted({record.threads for record in records}):
        record = next(record for record in records if record.threads == threads)
        for name, peak, style in (("int8", record.int8_gmac_s, "-"), ("fp32", record.fp32_gmac_s, ":")):
            ridge = peak / record.read_gb_s
            axes.plot(
                [left, ridge, max(right, 2 * ridge)],
                [left * record.read_gb_s, peak, peak],
                color="grey",
                linestyle=style,
                linewidth=1,
                label=f"{threads} thread{'s' * (threads > 1)}: {record.read_gb_s:.0f} GB/s, {name} {peak:.0f} GMAC/s",
            )
    points: dict[str, tuple[list[float], list[float]]] = {}
    for record, intensity in zip(records, intensities, strict=True):
        at, reached = points.setdefault(_settings(record), ([], []))
        at.append(intensity)
        reached.append(record.macs_per_token * record.tokens_per_second.median / 1e9)
    for number, (label, (at, reached)) in enumerate(points.items()):
        axes.plot(at, reached, marker="o", linestyle="", color=f"C{number % 10}", label=label)
    axes.set(xlabel="multiply-adds per byte read", ylabel="10^9 multiply-adds per second", xscale="log", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="x-small")
