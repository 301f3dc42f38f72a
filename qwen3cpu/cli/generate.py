"""`qwen3cpu generate`: the answer to one prompt, from an argument, a file or a pipe."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import (
    add_answering_flags,
    answer_options,
    open_model,
)
from qwen3cpu.cli.terminal import AnswerWriter, early_end, figures, json_text, note
from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.prompts import Prompt
from qwen3cpu.text.text_files import decode_text, read_text_file
from qwen3cpu.text.tokenizer import check_text


def add_command(commands: Commands) -> None:
    """Add `generate` to the command line."""
    parser = commands.add_parser(
        "generate",
        help="answer one prompt",
        allow_abbrev=False,
        description="Answer one prompt and print the answer. On a pipe, only the answer is printed.",
    )
    parser.add_words("prompt", metavar="PROMPT", help="words, without quotes if you like; none, or -: read from stdin")
    parser.add_argument("-f", "--file", type=Path, metavar="FILE", help="read the prompt from a file")
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument("--raw", action="store_true", help="use the prompt without the chat template")
    parser.add_argument(
        "--token-healing",
        action="store_true",
        help="with --raw: the prompt may end inside a word, which the answer completes",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object with the whole result")
    parser.add_argument(
        "--logprobs", type=int, metavar="K", help="with --json: log-probabilities and K alternatives of every token"
    )
    form = parser.add_argument_group(
        "form of the answer", "At most one of these. The reasoning before the answer is not constrained."
    )
    form.add_argument("--regex", metavar="R", help="a regular expression that matches the whole answer")
    form.add_argument("--choices", metavar="A,B", help="the allowed answers, separated by commas")
    form.add_argument("--choice", action="append", metavar="TEXT", help="an allowed answer; may be repeated")
    form.add_argument("--grammar", type=Path, metavar="FILE", help="a grammar in Lark's form, or llama.cpp's (GBNF)")
    add_answering_flags(parser)
    parser.set_defaults(run=run_generate)


def run_generate(args: argparse.Namespace) -> int:
    """`qwen3cpu generate`."""
    if args.raw and args.system is not None:
        raise ArgumentError("--raw uses the prompt without the chat template, so it has no place for --system")
    if args.raw and args.thinking == "on":
        raise ArgumentError("--raw uses the prompt without the chat template, so it has no place for --thinking on")
    if args.token_healing and not args.raw:
        raise ArgumentError("--token-healing: needs --raw")
    if args.logprobs is not None and not args.json:
        raise ArgumentError("--logprobs: needs --json")
    text = read_prompt(args)
    prompt: Prompt = text
    if args.system is not None:
        check_text(args.system, "--system")
        prompt = [{"role": "system", "content": args.system}, {"role": "user", "content": text}]
    form = form_options(args)
    model = open_model(args)
    raw = {"raw": args.raw, "token_healing": args.token_healing}
    options = {**answer_options(args), **form, **raw, "logprobs": args.logprobs}
    writer = AnswerWriter(sys.stdout, show_thinking=args.show_thinking)
    result = None
    try:
        with closing(model.stream(prompt, **options)) as chunks:
            for chunk in chunks:
                if not args.json:
                    writer.write(chunk)
                result = chunk.result
    finally:
        if not args.json:
            writer.end()
    assert result is not None
    if args.json:
        about = {"model": model.source, "quant": model.quant, "threads": model.threads}
        print(json_text({**about, **result.to_dict()}))
    elif sys.stderr.isatty():
        note(figures(result))
    elif result.stopped_by != "max_new_tokens" and (ending := early_end(result)) is not None:
        note(f"qwen3cpu: {ending}")
    return 0


def form_options(args: argparse.Namespace) -> dict[str, Any]:
    """The constraints of the answer, as options of Model.stream. ArgumentError for a file that cannot be read."""
    listed = [] if args.choices is None else args.choices.split(",")
    for flag, given in (("--choice", args.choice or []), ("--choices", listed)):
        if "" in given:
            raise ArgumentError(f"{flag}: expected answers, found an empty one")
    choices = [*(args.choice or ()), *listed]
    return {
        "regex": args.regex,
        "choices": choices or None,
        "grammar": None if args.grammar is None else read_text_file(args.grammar, f"--grammar {args.grammar}"),
    }


def read_prompt(args: argparse.Namespace) -> str:
    """The prompt from the arguments, a file or stdin. ArgumentError when there is none or it is not UTF-8."""
    if args.file is not None:
        if args.prompt:
            raise ArgumentError("a prompt was given twice: as an argument and with --file")
        return _not_empty(read_text_file(args.file, f"--file {args.file}"), f"--file {args.file}", args.raw)
    if args.prompt and args.prompt != ["-"]:
        prompt = " ".join(args.prompt)
        check_text(prompt, "PROMPT")
        return _not_empty(prompt, "PROMPT", args.raw)
    if sys.stdin is None:
        raise ArgumentError("no prompt: stdin is closed; give one as an argument or with --file")
    if not args.prompt and sys.stdin.isatty():
        raise ArgumentError("no prompt: give one as an argument, with --file, or on stdin")
    return _not_empty(decode_text(sys.stdin.buffer, "stdin"), "stdin", args.raw)


def _not_empty(text: str, where: str, raw: bool) -> str:
    """Return the text. ArgumentError when it is empty; unless `raw`, also when it is only white space."""
    if not (text if raw else text.strip()):
        raise ArgumentError(f"{where} is empty: expected a prompt, found {'none' if not text else 'white space only'}")
    return text
