"""`qwen3cpu drafts`: write a file of earlier answers or other texts, from which tokens are drafted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import DEFAULT_MODEL
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.draft_texts import write_drafts
from qwen3cpu.system.paths import checked_path
from qwen3cpu.text.text_files import read_text_file


def add_command(commands: Commands) -> None:
    """Add `drafts` to the command line."""
    parser = commands.add_parser(
        "drafts",
        help="write a file of texts from which tokens are drafted",
        allow_abbrev=False,
        description="Write texts and an index of them into one file. With `--drafts-from FILE`, other "
        "commands draft tokens from it. FILE.jsonl is an output of `qwen3cpu batch` or of OpenAI's batch API, whose "
        "answers are taken; other files are texts in UTF-8. The file gets its name when all is written.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="texts, or answers in FILE.jsonl")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help="the model whose tokenizer is used; no weights are read (default: %(default)s)",
    )
    parser.set_defaults(run=run_drafts)


def run_drafts(args: argparse.Namespace) -> int:
    """`qwen3cpu drafts`."""
    output = checked_path("--output", args.output)
    count = write_drafts(args.model, _texts(args.files), output)
    size = output.stat().st_size
    print(f"{args.output}: {count} tokens, {size / 1e6:.1f} MB", file=sys.stderr)
    return 0


def _texts(files: list[str]) -> Iterator[str]:
    for name in files:
        text = read_text_file(Path(name), name)
        if Path(name).suffix != ".jsonl":
            yield text
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError):
                    found = None
                if not isinstance(found, dict):
                    raise ArgumentError(f"{name}:{number}: expected a JSON object, found something else")
                yield from _answers(found, f"{name}:{number}")


def _answers(line: dict[str, Any], where: str) -> list[str]:
    """The answers in a line of a batch's output: of our form, of OpenAI's chat completions and completions."""
    response = line.get("response")
    if isinstance(response, dict) and isinstance(response.get("body"), dict):
        line = response["body"]
    result = line.get("result", line)
    found = [result.get("text")] if isinstance(result, dict) else []
    choices = line.get("choices") or []
    if not isinstance(choices, list):
        raise ArgumentError(f"{where}: choices: expected a list, found {type(choices).__name__}")
    for choice in choices:
        if isinstance(choice, dict):
            message = choice.get("message")
            found += [choice.get("text"), message.get("content") if isinstance(message, dict) else None]
    return [text for text in found if isinstance(text, str) and text]
