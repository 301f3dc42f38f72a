"""`qwen3cpu inspect`: what a model is and what it takes."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import add_model_flags, add_task_flag, open_model
from qwen3cpu.cli.terminal import json_text
from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.system.instruction_sets import chosen_isa


def add_command(commands: Commands) -> None:
    """Add `inspect` to the command line."""
    parser = commands.add_parser(
        "inspect",
        help="show shape, parameters, formats and bytes of a model",
        allow_abbrev=False,
        description="Show shape, parameters, weight formats and memory of a model.",
    )
    parser.add_argument("source", nargs="?", metavar="MODEL", help="the same as --model")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_flags(parser)
    add_task_flag(parser)
    parser.set_defaults(run=run_inspect)


def run_inspect(args: argparse.Namespace) -> int:
    """`qwen3cpu inspect`."""
    if args.source is not None and args.model is not None:
        raise ArgumentError("a model was given twice: as an argument and with --model")
    args.model = args.source or args.model
    found = describe(open_model(args))
    print(json_text(found) if args.json else as_text(found))
    return 0


def describe(model: Model) -> dict[str, Any]:
    """All shown facts as plain values. Names with `bytes` hold bytes."""
    return {
        "source": model.source,
        "task": model.task,
        "config": dataclasses.asdict(model.config),
        "parameters": model.config.parameters(),
        "quant": model.quant,
        "weight_bytes": model.weight_bytes,
        "format_bytes": model.format_bytes,
        "bits_per_weight": 8 * model.weight_bytes / model.config.parameters(),
        "kv": model.kv,
        "activations": model.activations,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "context": model.context,
        "tokenizer_size": model.tokenizer.size,
        "eos_token_ids": sorted(model.eos_token_ids),
        "chat_template": model.has_chat_template,
        "generation_defaults": dataclasses.asdict(model.generation_defaults),
        "threads": model.threads,
        "isa": chosen_isa(),
        "quality": _receipt(model),
    }


def _receipt(model: Model) -> dict[str, Any] | None:
    """What `qwen3cpu eval` has stored in the packed file that the model is mapped from."""
    if model.packed_path is None:
        return None
    from qwen3cpu.evaluation.quality_receipt import read_receipt

    return read_receipt(PackedFile(model.packed_path))


def as_text(found: dict[str, Any]) -> str:
    """The same for reading, a fact a line."""
    config = found["config"]
    scaling = config["rope_scaling"]
    rows = [
        ("model", found["source"]),
        ("made for", found["task"]),
        ("parameters", f"{found['parameters']:,}{' (embedding tied)' if config['tie_word_embeddings'] else ''}"),
        (
            "layers",
            f"{config['num_hidden_layers']} of hidden size {config['hidden_size']}, FFN {config['intermediate_size']}",
        ),
        (
            "attention",
            f"{config['num_attention_heads']} query heads, {config['num_key_value_heads']} KV heads of "
            f"{config['head_dim']}{', biases' if config['attention_bias'] else ''}",
        ),
        ("vocabulary", f"{config['vocab_size']:,} rows, {found['tokenizer_size']:,} tokens"),
        ("rope", f"theta {config['rope_theta']:g}" + (f", YaRN factor {scaling['factor']:g}" if scaling else "")),
        ("context", f"{found['context']:,} positions"),
        ("quant", f"{found['quant']}, {found['bits_per_weight']:.2f} bits per weight"),
        ("weights", f"{_bytes(found['weight_bytes'])}: {_formats(found['format_bytes'])}"),
        (
            "KV cache",
            f"{found['kv']}, {_bytes(found['kv_bytes_per_token'])} per token, "
            f"{_bytes(found['kv_bytes_per_token'] * found['context'])} for a full context",
        ),
        ("activations", found["activations"]),
        ("chat template", "yes" if found["chat_template"] else "no"),
        ("runs on", f"{found['threads']} threads, {found['isa']}"),
    ]
    quality = found["quality"]
    if quality is not None:
        from qwen3cpu.cli.quality_tables import as_line

        rows.append(("quality", as_line(quality)))
    return "\n".join(f"{name:14} {value}" for name, value in rows)


def _formats(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {_bytes(size)}" for name, size in sizes.items())


def _bytes(count: float) -> str:
    """A size in binary units, as `ls -h` writes it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
