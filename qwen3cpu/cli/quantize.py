"""`qwen3cpu quantize`: a model into one packed file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT, QUANTS
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import add_task_flag
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.pack import pack
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.quantization.calibration_report import as_table, read_report
from qwen3cpu.quantization.recipe import DEFAULT_BITS, Recipe
from qwen3cpu.text.text_files import read_text_file


def add_command(commands: Commands) -> None:
    """Add `quantize` to the command line."""
    parser = commands.add_parser(
        "quantize",
        help="pack a model into one file",
        allow_abbrev=False,
        description="Convert a model into one packed file that needs no other file. Every command and load() map it "
        "into memory at once. An existing packed file is replaced when all is written.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder, a GGUF file or a hub id such as Qwen/Qwen3-1.7B")
    parser.add_argument("out", metavar="OUT", help="the file, by custom with the suffix .qwen3")
    parser.add_argument(
        "--quant",
        choices=QUANTS,
        help=f"weight format (default: {DEFAULT_QUANT}; quantised folders and GGUF files keep their levels)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="round to q4 by text that the model writes itself: minutes of work, much less loss",
    )
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="with --calibrate: use this text in UTF-8 instead; for an embedding model, text like what it will embed",
    )
    parser.add_argument(
        "--bits",
        type=float,
        metavar="X",
        help="with --calibrate: average bits per weight; above q4's own, the matrices that gain most get q8 "
        f"(default: {DEFAULT_BITS})",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="with --calibrate: print what every matrix costs in q4 (KL divergence; 1 - cosine for an embedding model)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="with --calibrate: seed of the text that the model writes (default: 0)"
    )
    parser.add_argument(
        "--low-disk",
        action="store_true",
        help="DELETE each weight file of the folder SOURCE once it is packed; for a hub id, fetch the files one by one "
        "and keep none",
    )
    add_task_flag(parser)
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.set_defaults(run=run_quantize)


def run_quantize(args: argparse.Namespace) -> int:
    """`qwen3cpu quantize`."""
    text = None if args.text is None else read_text_file(args.text, f"--text {args.text}")
    given = {"bits": args.bits, "seed": args.seed, "text": text}
    changes = {name: value for name, value in given.items() if value is not None}
    if not args.calibrate and (changes or args.report):
        flag = next(iter(changes), "report")
        raise ArgumentError(f"--{flag}: only with --calibrate")
    recipe = replace(Recipe(), **changes) if args.calibrate else False
    start = perf_counter()
    read, written = pack(
        args.source,
        args.out,
        args.quant,
        calibrate=recipe,
        low_disk=args.low_disk,
        threads=args.threads,
        task=args.task,
    )
    seconds = perf_counter() - start
    file = PackedFile(Path(args.out))
    if args.report:
        report = read_report(file)
        assert report is not None
        print(as_table(report, file))
    print(
        f"{args.out}: {written / 1e6:.0f} MB as {file.quant}, from {read / 1e6:.0f} MB of weights in {seconds:.1f} s "
        f"({read / 1e6 / seconds:.0f} MB/s)"
    )
    return 0
