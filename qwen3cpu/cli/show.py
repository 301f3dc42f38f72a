"""`qwen3cpu show`: the card of a model, here or on the hub."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.checkpoint.known_models import LICENCE, Named, find_known
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.list import known_facts, models_here
from qwen3cpu.cli.sizes import size_text
from qwen3cpu.cli.terminal import json_text
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.describe import describe
from qwen3cpu.loading.installed import Installed, named
from qwen3cpu.loading.locate import is_name, locate
from qwen3cpu.system.thread_count import resolve_threads

MOST_README = 1 << 16
_LICENCE_LINE = re.compile(r"^license:[ \t]*(\S+)", re.MULTILINE)


def add_command(commands: Commands) -> None:
    """Add `show` to the command line."""
    parser = commands.add_parser(
        "show",
        help="the card of a model",
        allow_abbrev=False,
        description="Show what a model is: architecture, sizes, formats, context, what its template can do, licence "
        "and path. Nothing is downloaded and no weights are read; `qwen3cpu inspect` loads the model and shows more.",
    )
    parser.add_argument("model", metavar="MODEL", help="a name such as 1.7B, a hub id, a folder or a file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_show)


def run_show(args: argparse.Namespace) -> int:
    """`qwen3cpu show`."""
    found = card(args.model)
    print(json_text(found) if args.json else as_text(found))
    return 0


def card(name: str) -> dict[str, Any]:
    """What is known of a model, as plain values. Raises CheckpointError when it is neither here nor released."""
    local = os.path.exists(os.path.expanduser(name))
    known = None if local else find_known(name)
    stored = named(name, models_here())
    if local or (stored is not None and stored.path is not None and stored.complete):
        return _card_of_files(name, known, stored)
    if known is not None:
        return _card_of_known(known)
    if not is_name(name):
        locate(name)  # raises the error that says what was expected
    raise CheckpointError(f"{name} is not on this machine; `qwen3cpu pull {name}` fetches it")


def _card_of_files(name: str, known: Named | None, stored: Installed | None) -> dict[str, Any]:
    inside = stored is not None and stored.inside
    path = stored.path if stored is not None and stored.path is not None else Path(name).expanduser()
    found = describe(path, threads=resolve_threads(None))
    template = found.chat_template or ""
    switched = "enable_thinking" in template
    abilities = {
        "chat": bool(template),
        "thinking": found.thinks and not switched,
        "thinking on and off": found.thinks and switched,
        "tools": found.calls and "tools" in template,
    }
    return {
        "name": stored.name if stored is not None else name,
        "task": stored.task if stored is not None and found.task == "generation" else found.task,
        "here": True,
        **_shape(found.config),
        "stored": stored_as(path),
        "file_bytes": file_bytes(path),
        "quant": found.quant,
        "weight_bytes": found.weight_bytes,
        "packed": [] if stored is None else [str(entry.path) for entry in stored.packed],
        "context": found.context,
        "template": [each for each, has in abilities.items() if has],
        "licence": LICENCE if known is not None or inside else licence_of(path),
        "path": str(path),
        "forms": [] if known is None else known_facts(known.model)["forms"],
    }


def _card_of_known(known: Named) -> dict[str, Any]:
    facts = known_facts(known.model)
    return {
        "name": known.hub_id,
        "task": known.model.task,
        "here": False,
        **_shape(known.model.config()),
        "file_bytes": facts["file_bytes"] if known.hub_id == facts["hub_id"] else None,
        "weight_bytes": facts["weight_bytes"] if known.hub_id == facts["hub_id"] else None,
        "context": facts["positions"],
        "licence": LICENCE,
        "forms": facts["forms"],
    }


def _shape(config: ModelConfig) -> dict[str, Any]:
    return {
        "parameters": config.parameters(),
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "attention_heads": config.num_attention_heads,
        "key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "vocabulary": config.vocab_size,
        "experts": None if config.experts is None else config.experts.count,
        "experts_of_a_token": None if config.experts is None else config.experts.chosen,
    }


def file_bytes(path: Path) -> int:
    """Bytes of a model's file, or of all files in its folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def stored_as(path: Path) -> str:
    """The form in which a model's weights are stored."""
    if path.is_file():
        return "GGUF" if path.suffix == ".gguf" else "a packed file"
    config = parse_object((path / "config.json").read_bytes(), f"{path / 'config.json'}")
    quantization = config.get("quantization_config") or config.get("quantization")
    if isinstance(quantization, dict):
        return str(quantization.get("quant_method", "mlx"))
    return str(config.get("dtype") or config.get("torch_dtype") or "safetensors")


def licence_of(path: Path) -> str | None:
    """The licence that the model card beside a model names, or None."""
    readme = (path if path.is_dir() else path.parent) / "README.md"
    try:
        with readme.open(encoding="utf-8", errors="replace") as file:
            start = file.read(MOST_README)
    except OSError:
        return None
    found = _LICENCE_LINE.search(start) if start.startswith("---") else None
    return None if found is None else found[1]


def as_text(found: dict[str, Any]) -> str:
    """The same for reading, a fact a line."""
    rows = [("model", found["name"]), ("made for", found["task"])]
    if "layers" in found:
        kind = "dense"
        if found["experts"] is not None:
            kind = f"{found['experts_of_a_token']} of {found['experts']} experts"
        rows += [
            ("architecture", f"Qwen3, {kind}: {found['layers']} layers of hidden size {found['hidden_size']}"),
            ("", f"{found['attention_heads']} query heads, {found['key_value_heads']} KV heads of {found['head_dim']}"),
        ]
    rows.append(("parameters", f"{found['parameters'] / 1e9:.3g} billion"))
    if found["file_bytes"] is not None:
        stored = f", {found['stored']}" if "stored" in found else " to download"
        rows.append(("files", size_text(found["file_bytes"]) + stored))
    if found["weight_bytes"] is not None:
        rows.append(("in memory", f"{size_text(found['weight_bytes'])} as {found.get('quant', 'q4')}"))
    rows.append(("context", f"{found['context']:,} positions"))
    if "template" in found:
        rows.append(("template", ", ".join(found["template"]) or "none"))
    rows.append(("licence", found["licence"] or "not stated beside the model"))
    if found["here"]:
        rows.append(("path", found["path"]))
        rows += [("packed copy", path) for path in found["packed"]]
    else:
        rows.append(("path", f"not on this machine; `qwen3cpu pull {found['name']}` fetches it"))
    for number, form in enumerate(found["forms"]):
        rows.append(("also as" if number == 0 else "", form))
    return "\n".join(f"{name:14} {value}" for name, value in rows)
