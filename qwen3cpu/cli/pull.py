"""`qwen3cpu pull`: fetch models from the Hugging Face hub."""

from __future__ import annotations

import argparse
import os

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.sizes import size_text
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.installed import has_all_weights
from qwen3cpu.loading.locate import EMBEDDED, Located, locate
from qwen3cpu.loading.open import read_config


def add_command(commands: Commands) -> None:
    """Add `pull` to the command line."""
    parser = commands.add_parser(
        "pull",
        help="fetch a model from the hub",
        allow_abbrev=False,
        description="Fetch models from the Hugging Face hub into its ordinary cache (HF_HOME), where `load` and every "
        "command find them. Files that are there are not fetched again, and a broken download continues.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a name such as 1.7B or Embedding-0.6B, a hub id, or owner/name:TYPE for a model in GGUF",
    )
    parser.set_defaults(run=run_pull)


def run_pull(args: argparse.Namespace) -> int:
    """`qwen3cpu pull`."""
    for name in args.models:
        if name in EMBEDDED:
            print(f"{name} is inside the package")
        elif os.path.exists(os.path.expanduser(name)):
            print(f"{name} is here: a {'folder' if os.path.isdir(os.path.expanduser(name)) else 'file'}")
        else:
            found = fetch(name)
            files = [found.path] if found.path.is_file() else found.path.rglob("*")
            size = sum(path.stat().st_size for path in files if path.is_file())
            print(f"{found.name}: {size_text(size)} in {found.path}")
    return 0


def fetch(name: str) -> Located:
    """Download what is missing of a model. For a model that cannot be run, only its configuration is downloaded.

    Raises CheckpointError, ConfigError, DownloadError.
    """
    read_config(name)
    found = locate(name)
    if found.path.is_dir() and not has_all_weights(found.path):
        raise CheckpointError(f"{name}: expected weights in safetensors or of torch.save, found none")
    return found
