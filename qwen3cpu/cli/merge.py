"""`qwen3cpu merge`: merge an adapter into the weights of its model."""

from __future__ import annotations

import argparse

from qwen3cpu.cli.commands import Commands
from qwen3cpu.loading.merge import merge


def add_command(commands: Commands) -> None:
    """Add `merge` to the command line."""
    parser = commands.add_parser(
        "merge",
        help="merge an adapter into the weights of its model",
        allow_abbrev=False,
        description="Write a checkpoint with an adapter merged into the weights. They are computed in float32 and "
        "stored in the dtype of the base. The folder gets its name when all is written.",
    )
    parser.add_argument("base", metavar="BASE", help="a model folder with weights that are not quantised, or a hub id")
    parser.add_argument("adapter", metavar="ADAPTER", help="a PEFT folder or a GGUF file")
    parser.add_argument("out", metavar="OUT", help="a folder that does not exist yet")
    parser.set_defaults(run=run_merge)


def run_merge(args: argparse.Namespace) -> int:
    """`qwen3cpu merge`."""
    counts = merge(args.base, args.adapter, args.out)
    print(f"{args.out}: {counts['changed']} of {counts['tensors']} tensors changed")
    return 0
