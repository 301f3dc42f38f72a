"""`qwen3cpu eval`: what a weight format costs on a text."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from qwen3cpu.arguments import check_choice
from qwen3cpu.checkpoint.tensors import QUANTS, Quant
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import add_task_flag
from qwen3cpu.cli.quality_tables import as_table, check_plotting, plot
from qwen3cpu.engine.formats import ACTIVATIONS, DEFAULT_ACTIVATIONS, Activations
from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.measuring import REFERENCE, AnyQuality, measure, measure_source, name_of
from qwen3cpu.evaluation.quality_receipt import write_receipt
from qwen3cpu.loading.locate import is_name
from qwen3cpu.model import load
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.packed.sealed_file import replacing
from qwen3cpu.system.outputs import check_output
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.text.text_files import read_text_file

_DEFAULT_QUANTS: Final = "q8,q4"
_START: Final = b'[\n  {\n    "quant": '
"""The first bytes of a file of --output."""


def add_command(commands: Commands) -> None:
    """Add `eval` to the command line."""
    parser = commands.add_parser(
        "eval",
        help="measure what a weight format costs on a text",
        allow_abbrev=False,
        description=f"Compare weight formats with {REFERENCE} of the same model on a text. Prints perplexity, mean "
        "and 99th percentile of the KL divergence, and how often the likeliest token is the same. The second half of "
        "every window is scored. For an embedding model the vectors of passages are compared, for a reranker the "
        f"scores. A packed file keeps its numbers with {DEFAULT_ACTIVATIONS} activations, and `qwen3cpu inspect` shows "
        "them.",
    )
    parser.add_argument("model", metavar="MODEL", help="a folder, a GGUF file, a hub id, tiny, or a packed file")
    parser.add_argument("--text", type=Path, metavar="FILE", required=True, help="a text in UTF-8")
    parser.add_argument(
        "--quant",
        metavar="LIST",
        help=f"formats, separated by commas (default: {_DEFAULT_QUANTS})",
    )
    parser.add_argument(
        "--activations",
        metavar="LIST",
        default=DEFAULT_ACTIVATIONS,
        help=f"what the inputs of quantised matrices are rounded to: {', '.join(ACTIVATIONS)}, or both with a comma "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--reference", metavar="MODEL", help="what a packed file is compared with (default: what it was packed from)"
    )
    parser.add_argument(
        "--windows", type=int, metavar="N", help="windows or passages at most (default: 20; 200 for an embedding model)"
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="tokens of each (default: 512; 64 for an embedding model, 128 for a reranker)",
    )
    add_task_flag(parser)
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.add_argument("--no-cache", action="store_true", help="do not keep the converted weights on disk")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw divergence over bytes (needs matplotlib)")
    parser.set_defaults(run=run_eval)


def run_eval(args: argparse.Namespace) -> int:
    """`qwen3cpu eval`."""
    inputs = [args.text, args.model]
    output = None if args.output is None else checked_path("--output", args.output)
    if output is not None:
        check_output("--output", output, "the numbers of an earlier run", (_START,), inputs)
    if args.plot is not None:
        check_plotting(checked_path("--plot", args.plot), inputs)
    text = read_text_file(args.text, f"--text {args.text}")
    activations = cast(list[Activations], _listed("--activations", args.activations, ACTIVATIONS))
    path = checked_path("MODEL", args.model)
    is_packed = path.is_file() and path.suffix != ".gguf"
    with Progress("loading", None) as progress:
        if is_packed:
            if args.quant is not None:
                raise ArgumentError(f"--quant: {path} has its own format; leave it out")
            results = eval_packed(path, text, activations, args, progress)
        else:
            if args.reference is not None:
                raise ArgumentError("--reference: only for packed files; other models are compared with themselves")
            results = measure_source(
                args.model,
                text,
                cast(list[Quant], _listed("--quant", _DEFAULT_QUANTS if args.quant is None else args.quant, QUANTS)),
                activations=activations,
                windows=args.windows,
                window=args.window,
                threads=args.threads,
                task=args.task,
                cache=not args.no_cache,
                progress=progress,
            )
    print(as_table(results))
    if output is not None:
        _write(output, json.dumps([result.to_dict() for result in results], indent=2) + "\n")
    if args.plot is not None:
        plot(results, checked_path("--plot", args.plot))
    return 0


def eval_packed(
    path: Path, text: str, activations: Sequence[Activations], args: argparse.Namespace, progress: Progress | None
) -> list[AnyQuality]:
    """Measure a packed file with each of `activations`. The receipt of the default ones is stored in it."""
    origin = PackedFile(path).origin.name
    source = args.reference or origin
    if not is_name(source):
        raise ArgumentError(f"--reference: {path} was packed from {source}, which is not here; name the model")
    models = {
        inputs: load(path, threads=args.threads, task=args.task, activations=inputs, progress=progress)
        for inputs in activations
    }
    first = models[activations[0]]
    reference = load(source, REFERENCE, threads=args.threads, task=first.task, cache=False, progress=progress)
    named = {name_of(model.quant, inputs): model for inputs, model in models.items()}
    found = measure(named, reference, text, windows=args.windows, window=args.window, progress=progress)
    results = dict(zip(models, found, strict=True))
    if DEFAULT_ACTIVATIONS in results:
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        try:
            write_receipt(path, results[DEFAULT_ACTIVATIONS], args.text.name, digest)
        except OSError as reason:
            raise ArgumentError(f"{path}: the receipt cannot be stored: {reason.strerror or reason}") from reason
    return list(results.values())


def _listed(flag: str, text: str, allowed: Sequence[str]) -> list[str]:
    """The values of a list with commas, each once."""
    values = list(dict.fromkeys(text.split(",")))
    for value in values:
        check_choice(flag, value, allowed)
    return values


def _write(path: Path, text: str) -> None:
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as reason:
        raise ArgumentError(f"--output: {path} cannot be written: {reason.strerror or reason}") from reason
