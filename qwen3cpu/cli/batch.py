"""`qwen3cpu batch`: answer every line of a file into another file, and continue after an interruption."""

from __future__ import annotations

import argparse
import sys

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import (
    DEFAULT_MODEL,
    add_adapter_flag,
    add_model_flags,
    add_task_flag,
    json_object,
    memory_size,
    model_name,
    open_model,
)
from qwen3cpu.cli.terminal import note
from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.progress_bar import Progress

WITH_ERRORS = 1
"""The exit code when the output is complete and some of its lines are errors."""


def add_command(commands: Commands) -> None:
    """Add `batch` to the command line."""
    parser = commands.add_parser(
        "batch",
        help="answer every line of a file",
        allow_abbrev=False,
        description="Answer every line of a JSONL file: requests in the form of OpenAI's batch files, or lines such as "
        '{"prompt": "..."} and {"messages": [...]} with options of Model.generate. The output gets its name when it '
        "is complete. After an interruption, the same command continues where it stopped. The exit code is 0 when all "
        "lines are answered and 1 when some have an error instead of an answer. Needs the extra [server].",
    )
    parser.add_argument("input", metavar="IN.jsonl", help="the lines, in UTF-8")
    parser.add_argument("output", metavar="OUT.jsonl", help="the results, in the order of the lines")
    parser.add_argument("--restart", action="store_true", help="start again, and replace an output of another job")
    parser.add_argument(
        "-s",
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the whole job, from which each line gets its own (default: %(default)s)",
    )
    parser.add_argument(
        "--options",
        metavar="JSON",
        help='defaults for lines without "url", such as {"max_new_tokens": 200, "thinking": false}',
    )
    parser.add_argument("--model-name", metavar="ID", help="the model's id in request bodies (default: from --model)")
    parser.add_argument(
        "--kv-memory", metavar="SIZE", help="memory of the KV cache, such as 800M or 4G (default: half of what is free)"
    )
    add_model_flags(parser)
    add_adapter_flag(parser, several=True)
    add_task_flag(parser)
    parser.set_defaults(run=run_batch)


def run_batch(args: argparse.Namespace) -> int:
    """`qwen3cpu batch`."""
    try:
        from qwen3cpu.batch import run_file
    except ImportError as missing:
        raise ArgumentError(f"this needs more packages ({missing.name}): pip install 'qwen3cpu[server]'") from None
    options = {} if args.options is None else json_object("--options", args.options)
    for name in ("seed", "restart", "progress"):
        if name in options:
            raise ArgumentError(f"--options: expected options of a line, found {name!r}, which is for the whole job")
    name = model_name(args.model_name, args.model or DEFAULT_MODEL)
    kv_bytes = None if args.kv_memory is None else memory_size("--kv-memory", args.kv_memory)
    model = open_model(args)
    try:
        with Progress("reading", None) as progress:
            summary = run_file(
                model,
                args.input,
                args.output,
                seed=args.seed,
                restart=args.restart,
                model_name=name,
                kv_bytes=kv_bytes,
                progress=progress,
                **options,
            )
    except (KeyboardInterrupt, SystemExit):
        note(f"qwen3cpu: stopped; run the same command again to go on ({args.output}.part has what is answered)")
        raise
    if summary.errors:
        note(
            f"qwen3cpu: {args.output}: {summary.errors} of {summary.lines} lines have errors; the first is line "
            f"{summary.first_error}"
        )
        return WITH_ERRORS
    if sys.stderr.isatty():
        note(f"{args.output}: {summary.lines} lines answered")
    return 0
