"""`qwen3cpu plan`: predict whether a model fits into memory, and how fast it can be, before it is downloaded."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

from qwen3cpu.arguments import check_choice
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.known_models import find_known
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT, QUANTS
from qwen3cpu.checkpoint.yarn import longest_context
from qwen3cpu.cli.commands import Commands
from qwen3cpu.engine.formats import ACTIVATIONS, DEFAULT_ACTIVATIONS, KV_FORMATS
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.memory_plan import Needs, needs
from qwen3cpu.loading.open import read_config
from qwen3cpu.packed.matrix import MatrixLayout, plan_matrices
from qwen3cpu.system.free_memory import AvailableMemory, available_memory
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.thread_count import resolve_threads

CONTEXTS = "1024,16384,32768"
_MOST_CONTEXT = 1 << 30
_PROBES = 3


def add_command(commands: Commands) -> None:
    """Add `plan` to the command line."""
    parser = commands.add_parser(
        "plan",
        help="memory and speed to expect of a model",
        allow_abbrev=False,
        description="Print the memory that a model takes when its context is full, whether this process may use that "
        "much, and how many tokens per second are possible. The measured reading speed of memory limits them. "
        "For a released model nothing is downloaded, for another hub id only config.json.",
    )
    parser.add_argument("model", metavar="MODEL", help="a name such as 1.7B, a hub id, a folder or a file")
    parser.add_argument(
        "--quant", metavar="NAMES", help=f"weight formats, separated by commas (default: {','.join(QUANTS)})"
    )
    parser.add_argument("--kv", choices=KV_FORMATS, default="f16", help="KV cache format (default: %(default)s)")
    parser.add_argument(
        "--activations",
        choices=ACTIVATIONS,
        default=DEFAULT_ACTIVATIONS,
        help="what the inputs of quantised matrices are rounded to (default: %(default)s)",
    )
    parser.add_argument(
        "-c", "--context", default=CONTEXTS, metavar="N", help="positions, separated by commas (default: %(default)s)"
    )
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.add_argument("--draft", metavar="MODEL", help="a smaller model beside it, which drafts tokens")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_plan)


def run_plan(args: argparse.Namespace) -> int:
    """`qwen3cpu plan`."""
    threads = resolve_threads(args.threads)
    contexts = [_context(text) for text in args.context.split(",")]
    config, formats = _model(args.model, args.quant)
    found = [
        (quant, needs(config, matrices, args.kv, context, threads, args.activations))
        for quant, matrices in formats.items()
        for context in contexts
    ]
    if args.draft is not None:
        found = _with_draft(found, args.draft, args.kv, threads)
    # Before the probe, which takes up to a gigabyte for a moment.
    available = available_memory()
    read_gb_s = _reading(threads, found)
    rows = [_row(quant, each, available, read_gb_s) for quant, each in found]
    about = {
        "model": args.model,
        "draft": args.draft,
        "parameters": config.parameters(),
        "experts": None if config.experts is None else config.experts.count,
        "kv": args.kv,
        "threads": threads,
        "read_gb_s": read_gb_s,
        "available": None if available is None else dataclasses.asdict(available),
    }
    print(json.dumps({**about, "plans": rows}) if args.json else _as_text(about, rows))
    return 0


def _context(text: str) -> int:
    """A number of positions: 16384 or 16k."""
    digits, factor = (text[:-1], 1024) if text[-1:] in ("k", "K") else (text, 1)
    found = text[:60]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12 and 0 < int(digits) * factor <= _MOST_CONTEXT):
        raise ArgumentError(f"--context: expected positions from 1 to {_MOST_CONTEXT} (16384 or 16k), found {found!r}")
    return int(digits) * factor


def _model(source: str, quant: str | None) -> tuple[ModelConfig, dict[str, dict[str, MatrixLayout]]]:
    """The configuration, and the matrices for each requested weight format."""
    quants = None if quant is None else quant.split(",")
    for name in quants or ():
        check_choice("--quant", name, QUANTS)
    known = None if os.path.exists(checked_path("MODEL", source)) else find_known(source)
    file = None
    # A repository with quantised weights keeps their levels: what that takes is in its config.json alone.
    if known is not None and known.hub_id == known.model.hub_id:
        config = known.model.config()
    else:
        config, file = read_config(source)
    if file is None:
        return config, {name: plan_matrices(config, name) for name in quants or QUANTS}
    if quants not in (None, [file.quant]):
        raise ArgumentError(f"--quant: {source} is packed as {file.quant!r}; expected that, found {quant!r}")
    return config, {file.quant: file.plan}


def _with_draft(found: Sequence[tuple[str, Needs]], draft: str, kv: str, threads: int) -> list[tuple[str, Needs]]:
    """The same with what the smaller model needs, in the format in which it is loaded."""
    config, formats = _model(draft, None)
    matrices = formats.get(DEFAULT_QUANT) or next(iter(formats.values()))
    most = longest_context(config)
    return [
        (quant, each.with_draft(needs(config, matrices, kv, min(each.context, most), threads))) for quant, each in found
    ]


def _reading(threads: int, found: Sequence[tuple[str, Needs]]) -> float:
    """The measured speed of reading memory, in 10^9 bytes per second."""
    # Imported here: the other commands do not need the benchmark's modules.
    from qwen3cpu.system.peaks import measure_reading

    size = max(each.read_bytes_at_start for _, each in found)
    return sorted(measure_reading(threads, size) for _ in range(_PROBES))[_PROBES // 2]


def _row(quant: str, found: Needs, available: AvailableMemory | None, read_gb_s: float) -> dict[str, Any]:
    """One line of the table, as plain values."""
    return {
        "quant": quant,
        **dataclasses.asdict(found),
        "total_bytes": found.total_bytes,
        "fits": None if available is None else found.total_bytes <= available.bytes,
        "tokens_per_second_at_start": read_gb_s * 1e9 / found.read_bytes_at_start,
        "tokens_per_second_at_end": read_gb_s * 1e9 / found.read_bytes,
    }


def _as_text(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    available = about["available"]
    columns = [
        ("weights", 10, "weight_bytes"),
        ("KV cache", 10, "kv_bytes"),
        ("workspace", 11, "workspace_bytes"),
        ("process", 9, "process_bytes"),
        *([("draft", 9, "draft_bytes")] if about["draft"] is not None else []),
        ("in all", 10, "total_bytes"),
    ]
    limit = "unknown" if available is None else f"{available['bytes'] / 1e9:.2f} GB ({available['bound']})"
    lines = [
        f"{about['model']}: {about['parameters'] / 1e9:.3g} billion parameters, KV cache {about['kv']}, "
        f"{about['threads']} threads",
        f"memory that this process may use: {limit}; memory is read at {about['read_gb_s']:.1f} GB/s",
        "",
        f"{'':6}{'context':>8}{''.join(f'{heading:>{width}}' for heading, width, _ in columns)}  "
        f"{'fits':5}{'tok/s at most':>14}",
    ]
    for row in rows:
        cells = "".join(f"{row[name] / 1e6:>{width},.0f}" for _, width, name in columns)
        fits = {None: "?", True: "yes", False: "NO"}[row["fits"]]
        speed = f"{row['tokens_per_second_at_start']:.1f} to {row['tokens_per_second_at_end']:.1f}"
        lines.append(f"{row['quant']:6}{row['context']:>8}{cells}  {fits:5}{speed:>14}")
    lines += ["", "Sizes in MB, with the context full; tok/s from the first token to the last of the context."]
    if about["experts"] is not None and any(row["fits"] is False for row in rows):
        lines.append(
            "A model that does not fit can run: experts that are not in memory are read from the disk for each token."
        )
    return "\n".join(lines)
