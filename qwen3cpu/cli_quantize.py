"""`qwen3cpu quantize`: a model into one packed file."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

from qwen3cpu.loader import pack
from qwen3cpu.packed import PackedFile
from qwen3cpu.weights import DEFAULT_QUANT, QUANTS


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `quantize` to the command line."""
    parser = commands.add_parser(
        "quantize",
        help="pack a model into one file",
        allow_abbrev=False,
        description="Convert a model into one packed file, which every command and load() map in a moment, and which "
        "needs no other file. An existing packed file is replaced when all is written.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder, a GGUF file or a hub id such as Qwen/Qwen3-1.7B")
    parser.add_argument("out", metavar="OUT", help="the file, by custom with the suffix .qwen3")
    parser.add_argument(
        "--quant",
        choices=QUANTS,
        help=f"weight format (default: {DEFAULT_QUANT}, or q8 where a GGUF file is in more than 4 bits)",
    )
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.set_defaults(run=run_quantize)


def run_quantize(args: argparse.Namespace) -> int:
    """`qwen3cpu quantize`."""
    start = perf_counter()
    read, written = pack(args.source, args.out, args.quant, threads=args.threads)
    seconds = perf_counter() - start
    quant = PackedFile(Path(args.out)).quant
    print(
        f"{args.out}: {written / 1e6:.0f} MB as {quant}, from {read / 1e6:.0f} MB of weights in {seconds:.1f} s "
        f"({read / 1e6 / seconds:.0f} MB/s)"
    )
    return 0
