"""`qwen3cpu cache list | prune`: the packed models that `load` keeps in the user's cache directory."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.sizes import UNITS, age_text
from qwen3cpu.errors import ArgumentError
from qwen3cpu.packed.cache import CacheEntry, cache_folder, entries, remove


def add_command(commands: Commands) -> None:
    """Add `cache` to the command line."""
    parser = commands.add_parser(
        "cache",
        help="list or remove kept models",
        allow_abbrev=False,
        description="List or remove the converted models in the cache directory (QWEN3CPU_CACHE).",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    shown = actions.add_parser("list", help="list the kept models", allow_abbrev=False)
    shown.set_defaults(run=run_list)
    pruned = actions.add_parser(
        "prune",
        help="remove what is not needed",
        allow_abbrev=False,
        description="Remove files that other versions packed, damaged ones and unfinished ones. Processes that use a "
        "model go on; the next load packs it again.",
    )
    pruned.add_argument(
        "--older-than", metavar="AGE", help="also models not used for this long: a number with m, h, d or w (30d)"
    )
    pruned.add_argument("--all", action="store_true", help="everything")
    pruned.add_argument("-n", "--dry-run", action="store_true", help="only print what would be removed")
    pruned.set_defaults(run=run_prune)
    for action in (shown, pruned):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run_list(args: argparse.Namespace) -> int:
    """`qwen3cpu cache list`."""
    folder = _folder()
    found = entries(folder)
    if args.json:
        print(json.dumps({"folder": str(folder), "files": [_as_dict(entry) for entry in found]}))
        return 0
    now = time.time()
    for entry in found:
        print(
            f"{entry.size / 1e6:>9,.1f} MB  {entry.quant or '-':5} used {age_text(now - entry.used):>4} ago  "
            f"{entry.state:13}  {entry.source or entry.path.name}"
        )
    print(f"{sum(entry.size for entry in found) / 1e6:>9,.1f} MB in {folder}")
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """`qwen3cpu cache prune`."""
    age = None if args.older_than is None else _seconds(args.older_than)
    folder, now = _folder(), time.time()
    chosen = [
        entry
        for entry in entries(folder)
        if entry.state != "being written"
        and (args.all or entry.needless or (age is not None and now - entry.used > age))
    ]
    removed = chosen if args.dry_run else [entry for entry in chosen if _remove(entry)]
    size = sum(entry.size for entry in removed)
    if args.json:
        found = {"folder": str(folder), "dry_run": args.dry_run, "bytes": size}
        print(json.dumps({**found, "removed": [_as_dict(entry) for entry in removed]}))
        return 0
    for entry in removed:
        print(f"{entry.size / 1e6:>9,.1f} MB  {entry.state:13}  {entry.path.name}")
    print(f"{size / 1e6:>9,.1f} MB {'would be freed' if args.dry_run else 'freed'}")
    return 0


def _folder() -> Path:
    try:
        return cache_folder()
    except RuntimeError as reason:
        raise ArgumentError(f"QWEN3CPU_CACHE: expected a cache directory, found none: {reason}") from None


def _remove(entry: CacheEntry) -> bool:
    try:
        return remove(entry)
    except OSError as reason:
        raise ArgumentError(f"{entry.path}: cannot be removed: {reason.strerror or reason}") from reason


def _as_dict(entry: CacheEntry) -> dict[str, Any]:
    return {**dataclasses.asdict(entry), "path": str(entry.path)}


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if match is None:
        raise ArgumentError(f"--older-than: expected a number with m, h, d or w, such as 30d; found {text!r}")
    return int(match[1]) * UNITS[match[2]]
