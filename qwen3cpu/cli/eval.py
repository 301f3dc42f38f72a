"""`qwen3cpu eval`: what a weight format costs on a text."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qwen3cpu.checkpoint.hub import is_hub_id
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.cli.commands import Commands
from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.quality import REFERENCE, WINDOW, Quality, evaluate, evaluate_source
from qwen3cpu.evaluation.quality_receipt import write_receipt
from qwen3cpu.loading.locate import EMBEDDED
from qwen3cpu.model import load
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.text.text_files import read_text_file

_DEFAULT_QUANTS: Final = "q8,q4"


def add_command(commands: Commands) -> None:
    """Add `eval` to the command line."""
    parser = commands.add_parser(
        "eval",
        help="measure what a weight format costs on a text",
        allow_abbrev=False,
        description=f"Compare weight formats with {REFERENCE} of the same model on a text: perplexity, mean and 99th "
        "percentile of the KL divergence, and how often the likeliest token is the same. The second half of every "
        "window is scored. For a packed file the numbers are stored in it, and `qwen3cpu inspect` shows them.",
    )
    parser.add_argument("model", metavar="MODEL", help="a folder, a GGUF file, a hub id, tiny, or a packed file")
    parser.add_argument("--text", type=Path, metavar="FILE", required=True, help="a text in UTF-8")
    parser.add_argument(
        "--quant",
        metavar="LIST",
        help=f"formats with commas between (default: {_DEFAULT_QUANTS})",
    )
    parser.add_argument(
        "--reference", metavar="MODEL", help="what a packed file is compared with (default: what it was packed from)"
    )
    parser.add_argument("--windows", type=int, default=20, metavar="N", help="at most (default: %(default)s)")
    parser.add_argument("--window", type=int, default=WINDOW, metavar="N", help="tokens of each (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.add_argument("--no-cache", action="store_true", help="do not keep the converted weights on disk")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw divergence over bytes (needs matplotlib)")
    parser.set_defaults(run=run_eval)


def run_eval(args: argparse.Namespace) -> int:
    """`qwen3cpu eval`."""
    text = read_text_file(args.text, f"--text {args.text}")
    path = Path(args.model).expanduser()
    is_packed = path.is_file() and path.suffix != ".gguf"
    with Progress("loading", None) as progress:
        if is_packed:
            if args.quant is not None:
                raise ArgumentError(f"--quant: {path} has its own format; leave it out")
            results = [eval_packed(path, text, args, progress)]
        else:
            if args.reference is not None:
                raise ArgumentError("--reference: only for packed files; other models are compared with themselves")
            results = evaluate_source(
                args.model,
                text,
                _quants(args.quant or _DEFAULT_QUANTS),
                windows=args.windows,
                window=args.window,
                threads=args.threads,
                cache=not args.no_cache,
                progress=progress,
            )
    print(as_table(results))
    if args.output is not None:
        _write(args.output, json.dumps([result.to_dict() for result in results], indent=2) + "\n")
    if args.plot is not None:
        plot(results, args.plot)
    return 0


def eval_packed(path: Path, text: str, args: argparse.Namespace, progress: Progress | None) -> Quality:
    """Measure a packed file and store the receipt in it."""
    origin = PackedFile(path).origin.name
    source = args.reference or origin
    if not (source in EMBEDDED or is_hub_id(source) or os.path.exists(source)):
        raise ArgumentError(f"--reference: {path} was packed from {source}, which is not here; name the model")
    reference = load(source, REFERENCE, threads=args.threads, cache=False, progress=progress)
    model = load(path, threads=args.threads, progress=progress)
    (result,) = evaluate(
        {model.quant: model}, reference, text, windows=args.windows, window=args.window, progress=progress
    )
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    try:
        write_receipt(path, result, args.text.name, digest)
    except OSError as reason:
        raise ArgumentError(f"{path}: the receipt cannot be stored: {reason.strerror or reason}") from reason
    return result


def as_table(results: Sequence[Quality]) -> str:
    """A line for each format, the reference first."""
    first = results[0]
    rows = [
        ("format", "MiB", "perplexity", "mean KL", "99 % KL", "same top"),
        (first.reference, "", f"{first.reference_perplexity:.3f}", "0", "0", "100 %"),
    ]
    for each in results:
        rows.append(
            (
                each.quant,
                f"{each.weight_bytes / 2**20:.1f}",
                f"{each.perplexity:.3f}",
                f"{each.mean_kl:.5f}",
                f"{each.kl_99:.4f}",
                f"{each.same_top:.1%}".replace("%", " %"),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.append(f"{first.windows} windows of {first.window} tokens, {first.positions} positions scored")
    return "\n".join(lines)


def plot(results: Sequence[Quality], path: Path) -> None:
    """Draw mean and 99th percentile of the divergence over the bytes of the weights, as the file's suffix says."""
    try:
        import matplotlib
    except ImportError as reason:
        raise ArgumentError("--plot: needs matplotlib: pip install 'qwen3cpu[plot]'") from reason
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    sizes = [result.weight_bytes / 2**20 for result in results]
    axes.plot(sizes, [result.mean_kl for result in results], "o", label="mean")
    axes.plot(sizes, [result.kl_99 for result in results], "^", label="99th percentile")
    for size, result in zip(sizes, results, strict=True):
        axes.annotate(result.quant, (size, result.mean_kl), xytext=(6, 4), textcoords="offset points")
    axes.set_yscale("log")
    axes.set_xlabel("weights, MiB")
    axes.set_ylabel(f"KL divergence from {results[0].reference}, nats")
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as reason:
        raise ArgumentError(f"--plot: {path} cannot be written: {reason}") from reason
    finally:
        pyplot.close(figure)


def _quants(text: str) -> list[str]:
    quants = text.split(",")
    for quant in quants:
        if quant not in QUANTS:
            raise ArgumentError(f"--quant: expected formats among {', '.join(QUANTS)}, found {quant!r}")
    return quants


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as reason:
        raise ArgumentError(f"--output: {path} cannot be written: {reason.strerror or reason}") from reason
