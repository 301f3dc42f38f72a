"""`qwen3cpu completion`: the script with which a shell completes commands, flags and names of models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from qwen3cpu.cli.commands import Commands

SHELLS: Final = ("bash", "zsh", "fish")
FOLDER: Final = Path(__file__).parents[1] / "assets" / "completions"


def add_command(commands: Commands) -> None:
    """Add `completion` to the command line."""
    parser = commands.add_parser(
        "completion",
        help="the script with which a shell completes commands",
        allow_abbrev=False,
        description="Print the script with which a shell completes commands, flags, values and names of models. For "
        'bash put this into ~/.bashrc: eval "$(qwen3cpu completion bash)". For zsh put this into ~/.zshrc, after '
        'compinit: eval "$(qwen3cpu completion zsh)". For fish run this: qwen3cpu completion fish > '
        "~/.config/fish/completions/qwen3cpu.fish",
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=run_completion)


def run_completion(args: argparse.Namespace) -> int:
    """`qwen3cpu completion`."""
    print((FOLDER / f"qwen3cpu.{args.shell}").read_text("utf-8"), end="")
    return 0
