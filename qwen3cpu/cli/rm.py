"""`qwen3cpu rm`: remove models from this machine."""

from __future__ import annotations

import argparse
import sys

from qwen3cpu.arguments import did_you_mean
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.list import models_here
from qwen3cpu.cli.sizes import size_text
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.installed import Installed, named, uninstall
from qwen3cpu.loading.locate import EMBEDDED
from qwen3cpu.system.use_lock import InUseError


def add_command(commands: Commands) -> None:
    """Add `rm` to the command line."""
    parser = commands.add_parser(
        "rm",
        help="remove a model from this machine",
        allow_abbrev=False,
        description="Remove a model's files from the Hugging Face cache, and its packed copies. A model that a process "
        "has loaded stays. For a folder or file of your own, only the packed copies go.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="as `qwen3cpu list` shows it, or a name such as 1.7B"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=run_rm)


def run_rm(args: argparse.Namespace) -> int:
    """`qwen3cpu rm`."""
    here = models_here()
    for model in [_find(name, here) for name in args.models]:
        if not args.yes and not _agreed(model):
            print(f"{model.name} stays")
            continue
        try:
            freed = uninstall(model)
        except InUseError:
            raise ArgumentError(f"{model.name} is in use: a process has loaded it; end that first") from None
        except OSError as reason:
            raise ArgumentError(f"{model.name} cannot be removed: {reason.strerror or reason}") from reason
        print(f"{model.name} removed, {size_text(freed)} freed")
    return 0


def _find(name: str, here: list[Installed]) -> Installed:
    if name in EMBEDDED:
        raise ArgumentError(f"{name} is a part of the package and stays")
    found = named(name, here)
    if found is not None:
        return found
    names = [model.name for model in here if not model.inside]
    of_repo = [each for each in names if each.startswith(f"{name}:")]
    if of_repo:
        raise ArgumentError(f"{name}: expected one of its models on this machine: {', '.join(of_repo)}")
    hint = did_you_mean(name, names) or f"; here are: {', '.join(names) or 'none'}"
    raise ArgumentError(f"{name} is not on this machine{hint}")


def _agreed(model: Installed) -> bool:
    """Ask on the terminal. ArgumentError when there is nobody to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise ArgumentError(f"{model.name}: expected --yes, because there is no terminal to ask on")
    for path in model.files or model.snapshots.values():
        print(path)
    for entry in model.packed:
        print(entry.path)
    try:
        return input(f"Remove {model.name}, {size_text(model.size)}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
