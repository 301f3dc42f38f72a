"""`qwen3cpu export`: a model as a GGUF file for llama.cpp."""

from __future__ import annotations

import argparse

from qwen3cpu.cli.commands import Commands
from qwen3cpu.loading.gguf_export import GGUF_TYPES, export_gguf


def add_command(commands: Commands) -> None:
    """Add `export` to the command line."""
    parser = commands.add_parser(
        "export",
        help="write a model as a GGUF file for llama.cpp",
        allow_abbrev=False,
        description="Write a model as a GGUF file with its tokenizer, template and sampling defaults, for llama.cpp "
        "and programs built on it. An existing GGUF file is replaced when all is written.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a folder, a packed file in q8 or bf16, a GGUF file or a hub id"
    )
    parser.add_argument("out", metavar="OUT", help="the file, by custom with the suffix .gguf")
    parser.add_argument(
        "--type",
        choices=GGUF_TYPES,
        default=GGUF_TYPES[0],
        help="type of the weights (default: %(default)s); Q4_0 keeps the embedding, the head and v_proj in Q8_0",
    )
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """`qwen3cpu export`."""
    size = export_gguf(args.source, args.out, args.type)
    print(f"{args.out}: {size / 1e6:.0f} MB as {args.type}")
    return 0
