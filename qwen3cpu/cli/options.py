"""Command-line flags that several commands share, and the model and options built from them."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Literal

from qwen3cpu.checkpoint.config import GenerationDefaults
from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.checkpoint.known_models import canonical
from qwen3cpu.checkpoint.purpose import TASKS
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT, QUANTS
from qwen3cpu.cli.terminal import note
from qwen3cpu.engine.formats import ACTIVATIONS, DEFAULT_ACTIVATIONS, KV_FORMATS
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.generation.options import make_request
from qwen3cpu.model import Model, load
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.text.tokenizer import check_text

DEFAULT_MODEL = "tiny"
EMBEDDING_MODEL = "tiny-embedding"
REAL_MODELS = {DEFAULT_MODEL: "1.7B", EMBEDDING_MODEL: "Embedding-0.6B"}
"""Small model inside the package -> the name of a model of the same kind for real work."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LARGEST = 1 << 62
_ANY_VOCABULARY = 1 << 31
OTHER_NAMES = {"--top-n-sigma": ("--top-nsigma",), "--typical-p": ("--typical",)}
"""Flags that llama.cpp has under two names."""
THINKING: dict[str, bool | Literal["auto"]] = {"on": True, "off": False, "auto": "auto"}


def add_model_flags(
    parser: argparse.ArgumentParser, default: str = DEFAULT_MODEL, *, several: bool = False, named: bool = True
) -> None:
    """Add --model (default: a key of REAL_MODELS), --quant, --kv, --ctx-size, --rope-scaling, --threads, --no-cache.

    several: allow --model more than once; its value is a list then. named: whether to add --model.
    """
    group = parser.add_argument_group("model")
    if named:
        group.add_argument(
            "-m",
            "--model",
            metavar="MODEL",
            action="append" if several else "store",
            help=f"a name such as {REAL_MODELS[default]}, a hub id, a folder, a packed or GGUF file (default: "
            f"{default}, a small model inside the package){'; may be repeated' if several else ''}",
        )
    group.add_argument(
        "--quant",
        choices=QUANTS,
        help=f"weight format (default: {DEFAULT_QUANT}; packed files have their own; q8 for quantised folders)",
    )
    group.add_argument("--kv", choices=KV_FORMATS, default="f16", help="KV cache format (default: %(default)s)")
    group.add_argument(
        "--activations",
        choices=ACTIVATIONS,
        default=DEFAULT_ACTIVATIONS,
        help="what the inputs of quantised matrices are rounded to; int16 loses almost nothing, and prompts take twice "
        "as long (default: %(default)s)",
    )
    group.add_argument(
        "-c",
        "--ctx-size",
        type=int,
        metavar="N",
        help="positions of the context (default: the model's own; a larger value turns YaRN on)",
    )
    group.add_argument(
        "--rope-scaling",
        metavar="JSON",
        help="RoPE scaling instead of config.json's, such as "
        '{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32768}',
    )
    group.add_argument(
        "-t",
        "--threads",
        type=int,
        metavar="N",
        help="threads (default: QWEN3CPU_THREADS, else what physical cores, CPU affinity and cgroup quota allow)",
    )
    group.add_argument("--no-cache", action="store_true", help="do not keep the converted weights on disk")


def add_adapter_flag(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add --adapter. several: allow it more than once, for adapters that requests name; its value is a list then."""
    parser.add_argument(
        "--adapter",
        action="append" if several else "store",
        metavar="[NAME=]PATH" if several else "PATH",
        help="a LoRA adapter: a PEFT folder or a GGUF file"
        + ("; requests ask for it by NAME (default: the last part of PATH); may be repeated" if several else ""),
    )


def add_draft_flags(parser: argparse.ArgumentParser) -> None:
    """Add --draft and --drafts-from."""
    parser.add_argument(
        "--draft",
        metavar="MODEL",
        help="a smaller model with the same tokenizer, which drafts tokens for the model to check",
    )
    parser.add_argument(
        "--drafts-from", metavar="FILE", help="a file that `qwen3cpu drafts` wrote; tokens are drafted from its texts"
    )


def adapter_paths(given: str | list[str] | None) -> dict[str, str]:
    """Name -> path of the adapters that the flags name. ArgumentError for a name that is given twice."""
    found: dict[str, str] = {}
    for text in [given] if isinstance(given, str) else given or []:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = Path(text).resolve().name.removesuffix(".gguf"), text
        if name in found:
            raise ArgumentError(f"--adapter: expected different names, found {name!r} twice")
        found[name] = path
    return found


def add_task_flag(parser: argparse.ArgumentParser) -> None:
    """Add --task."""
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="what the model was made for (default: what its files say, else generation)",
    )


def add_sampling_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of sampling and stopping, named as in llama.cpp."""
    group = parser.add_argument_group("answer")
    group.add_argument(
        "-n", "--n-predict", type=int, metavar="N", help="new tokens at most, reasoning included (default: no limit)"
    )
    group.add_argument(
        "--thinking",
        choices=tuple(THINKING),
        help="let the model think first; auto follows the last /think or /no_think in the text (default: auto)",
    )
    group.add_argument("--thinking-budget", type=int, metavar="N", help="reasoning tokens at most; 0 for none")
    group.add_argument(
        "--deadline", type=float, metavar="S", help="seconds until an answer must be complete; the rest is cut off"
    )
    group.add_argument(
        "--show-thinking",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="print the reasoning too (default: dimmed on a terminal, left out on a pipe)",
    )
    group.add_argument(
        "--stop", action="append", metavar="TEXT", help="end the answer before this text; may be repeated"
    )
    group.add_argument("-s", "--seed", type=int, metavar="N", help="repeats an answer (default: new for each answer)")
    group.add_argument(
        "--no-speculation", action="store_true", help="do not draft tokens; the answer is the same, but slower"
    )
    sampling = parser.add_argument_group(
        "sampling", "Defaults: generation_config.json, else what Qwen's authors recommend for the mode."
    )
    for flag, kind, text in (
        ("--temp", float, "temperature; 0 always takes the likeliest token"),
        ("--top-k", int, "keep the K likeliest tokens; 0 keeps all"),
        ("--top-p", float, "keep the likeliest tokens that make up this share"),
        ("--min-p", float, "drop tokens less likely than this share of the best"),
        ("--top-n-sigma", float, "drop tokens X standard deviations of the logits below the best; 0 drops none"),
        ("--typical-p", float, "keep the tokens about as likely as expected, up to this share; 1 keeps all"),
        ("--xtc-probability", float, "how often all but the last of the likely tokens are dropped; 0 is never"),
        ("--xtc-threshold", float, "the least probability of a likely token (default: 0.1)"),
        ("--dry-multiplier", float, "penalty on the logits of tokens that continue a repetition; 0 turns it off"),
        ("--dry-base", float, "factor by which the penalty grows with each token of the repetition (default: 1.75)"),
        ("--dry-allowed-length", int, "the shortest repetition that is penalised, in tokens (default: 2)"),
        ("--dry-penalty-last-n", int, "look for repetitions in the last K tokens; -1: in all (default)"),
        ("--repeat-penalty", float, "divide the logits of tokens that occurred by X; 1 turns it off"),
        ("--presence-penalty", float, "subtract X from the logits of tokens that the answer contains"),
        ("--frequency-penalty", float, "subtract X for each time that the answer contains the token"),
    ):
        names = (flag, *OTHER_NAMES.get(flag, ()))
        sampling.add_argument(*names, type=kind, metavar="K" if kind is int else "X", help=text)
    sampling.add_argument(
        "--dry-sequence-breaker",
        action="append",
        metavar="TEXT",
        help="after this text, repetitions are counted from zero; may be repeated; none clears the list (default: a "
        'line break, and : " *)',
    )


def add_answering_flags(parser: argparse.ArgumentParser, *, named: bool = True) -> None:
    """Add the flags for answers: model, adapter, drafts, sampling. named: as for add_model_flags."""
    add_model_flags(parser, named=named)
    add_adapter_flag(parser)
    add_draft_flags(parser)
    add_sampling_flags(parser)


def open_model(args: argparse.Namespace, default: str = DEFAULT_MODEL) -> Model:
    """The model that the flags name, or else `default`, loaded with a progress bar on a terminal."""
    if "n_predict" in args:
        # Before the model is fetched and packed. Ids are checked with the model.
        make_request(answer_options(args), GenerationDefaults(), vocab_size=_ANY_VOCABULARY)
    source = args.model
    if source is None:
        source = default
        if sys.stderr.isatty():
            note(f"using the small model inside the package; --model {REAL_MODELS[default]} runs a real one")
    with Progress(f"loading {source}", None) as progress:
        return load(
            source,
            quant=args.quant,
            kv=args.kv,
            activations=args.activations,
            context=args.ctx_size,
            rope_scaling=rope_scaling(args.rope_scaling),
            threads=args.threads,
            cache=not args.no_cache,
            task=getattr(args, "task", None),
            adapters=adapter_paths(getattr(args, "adapter", None)),
            draft=getattr(args, "draft", None),
            drafts_from=getattr(args, "drafts_from", None),
            progress=progress,
        )


def rope_scaling(text: str | None) -> dict[str, Any] | None:
    """What --rope-scaling stands for. ArgumentError when it is not a JSON object."""
    return None if text is None else json_object("--rope-scaling", text)


def json_object(flag: str, text: str) -> dict[str, Any]:
    """The JSON object that is the value of a flag. ArgumentError for another text."""
    try:
        check_text(text, flag)
        return parse_object(text.encode(), flag)
    except CheckpointError as reason:
        raise ArgumentError(str(reason)) from None


def answer_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of generate and stream that the flags stand for; None where a flag was not given."""
    for text in args.stop or ():
        check_text(text, "--stop")
    return {
        # llama.cpp writes -1 for "no limit" and "a new seed".
        "max_new_tokens": None if args.n_predict == -1 else args.n_predict,
        "seed": None if args.seed == -1 else args.seed,
        "thinking": None if args.thinking is None else THINKING[args.thinking],
        "thinking_budget": args.thinking_budget,
        "deadline": args.deadline,
        "speculate": False if args.no_speculation else None,
        "stop": args.stop,
        "temperature": args.temp,
        "top_k": args.top_k,
        "top_p": args.top_p,
        "min_p": args.min_p,
        "top_n_sigma": args.top_n_sigma,
        "typical_p": args.typical_p,
        "xtc_probability": args.xtc_probability,
        "xtc_threshold": args.xtc_threshold,
        "dry_multiplier": args.dry_multiplier,
        "dry_base": args.dry_base,
        "dry_allowed_length": args.dry_allowed_length,
        "dry_penalty_last_n": args.dry_penalty_last_n,
        "dry_sequence_breakers": _breakers(args.dry_sequence_breaker),
        "repetition_penalty": args.repeat_penalty,
        "presence_penalty": args.presence_penalty,
        "frequency_penalty": args.frequency_penalty,
        "adapter": next(iter(adapter_paths(args.adapter)), None),
        "progress": True,
    }


def _breakers(given: list[str] | None) -> list[str] | None:
    """Apply llama.cpp's rule: given texts replace the defaults, and "none" removes the texts before it."""
    if given is None:
        return None
    last = max((place for place, each in enumerate(given) if each == "none"), default=-1)
    return given[last + 1 :]


def model_name(given: str | None, source: str) -> str:
    """The value of --model-name, or else the id of the model. ArgumentError for an empty value."""
    if given is None:
        return model_id(source)
    check_text(given, "--model-name")
    if not given.strip():
        raise ArgumentError("--model-name: expected a name, found none")
    return given


def model_id(source: str) -> str:
    """The id of a model for clients: its hub id, or the last part of a path, which hides the folders of this
    machine.
    """
    from qwen3cpu.packed.packed_file import SUFFIX

    path = Path(source)
    return path.resolve().name.removesuffix(SUFFIX) if path.exists() else canonical(source)


def memory_size(flag: str, text: str) -> int:
    """Bytes that a flag's value such as 800M or 4G stands for. ArgumentError for another text."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ArgumentError(f"{flag}: expected a size such as 800M or 4G, found {text!r}")
    size = float(match[1]) * _UNITS[match[2].upper()]
    if size > _LARGEST:
        raise ArgumentError(f"{flag}: expected a size of at most {_LARGEST >> 40}T, found {text[:60]!r}")
    return int(size)
