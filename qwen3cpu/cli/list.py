"""`qwen3cpu list`: the models on this machine, and the released ones that are not."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from qwen3cpu.checkpoint.known_models import KNOWN, SHAPES, KnownModel, shaped_config
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.sizes import age_text, size_text
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.installed import Installed, installed
from qwen3cpu.loading.memory_plan import weight_bytes
from qwen3cpu.packed.matrix import plan_matrices


def add_command(commands: Commands) -> None:
    """Add `list` to the command line."""
    parser = commands.add_parser(
        "list",
        help="the models on this machine, and the released ones",
        allow_abbrev=False,
        description="List the models on this machine with the size of their files and of their packed copies, and the "
        "released models that are not here.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_list)


def run_list(args: argparse.Namespace) -> int:
    """`qwen3cpu list`."""
    here = models_here()
    names = {model.name for model in here if model.complete}
    others = [model for model in KNOWN if model.hub_id not in names]
    if args.json:
        print(json.dumps({"here": [_as_dict(each) for each in here], "known": [known_facts(each) for each in others]}))
        return 0
    now = time.time()
    print(table(("NAME", "FOR", "FILES", "PACKED", "USED"), [_row(each, now) for each in here]))
    print("\nNot on this machine; `qwen3cpu run NAME` fetches one and talks with it:\n")
    print(table(("NAME", "FOR", "PARAMETERS", "DOWNLOAD", f"AS {DEFAULT_QUANT}"), [known_row(each) for each in others]))
    return 0


def models_here() -> list[Installed]:
    """The models on this machine. ArgumentError for a user without a home directory."""
    try:
        return installed()
    except RuntimeError as reason:
        raise ArgumentError(f"QWEN3CPU_CACHE: expected a cache directory, found none: {reason}") from None


def _row(model: Installed, now: float) -> tuple[str, ...]:
    copies = ", ".join(f"{entry.quant} {size_text(entry.size)}" for entry in model.packed)
    if not model.complete:
        copies = f"{copies} (files are missing; qwen3cpu pull {model.name})".strip()
    used = "inside the package" if model.inside else f"{age_text(now - model.used)} ago"
    return (model.name, model.task, "" if model.path is None else size_text(model.bytes), copies, used)


def known_row(model: KnownModel) -> tuple[str, ...]:
    """A released model in a table, by the name that people type."""
    facts = known_facts(model)
    packed = "cannot be run" if facts["weight_bytes"] is None else size_text(facts["weight_bytes"])
    return (
        model.short,
        model.task,
        f"{model.parameters / 1e9:.3g} billion",
        size_text(model.file_bytes),
        packed,
    )


@cache
def _memory(size: str, tied: bool) -> int:
    """Bytes of the weights of a released shape in the default format."""
    config = shaped_config(SHAPES[size]._replace(tied=tied), 1, size)
    return weight_bytes(config, plan_matrices(config, DEFAULT_QUANT))


def known_facts(model: KnownModel) -> dict[str, Any]:
    """The facts about a released model in the table. weight_bytes: in memory, in the default format."""
    return {
        "name": model.short,
        "hub_id": model.hub_id,
        "task": model.task,
        "parameters": model.parameters,
        "file_bytes": model.file_bytes,
        "weight_bytes": _memory(model.size, model.config().tie_word_embeddings),
        "positions": model.positions,
        "forms": [f"{model.hub_id}-{form}" for form in model.forms],
    }


def _as_dict(model: Installed) -> dict[str, Any]:
    return {
        "name": model.name,
        "path": None if model.path is None else str(model.path),
        "task": model.task,
        "bytes": model.bytes,
        "complete": model.complete,
        "packed": [
            {"path": str(entry.path), "quant": entry.quant, "bytes": entry.size, "used": entry.used}
            for entry in model.packed
        ],
        "inside": model.inside,
    }


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under titles, in columns that are as wide as their widest cell."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
