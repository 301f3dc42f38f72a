"""`qwen3cpu run`: talk with a model, or have one prompt answered; the model is fetched first if need be."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable

from qwen3cpu.cli import chat, generate
from qwen3cpu.cli.chat.command import add_chat_flags
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.mcp import add_mcp_flags
from qwen3cpu.cli.options import add_answering_flags
from qwen3cpu.cli.pull import fetch
from qwen3cpu.loading.installed import is_fetched
from qwen3cpu.loading.locate import EMBEDDED
from qwen3cpu.system.command_parser import CommandParser
from qwen3cpu.text.text_files import decode_text


def add_command(commands: Commands) -> None:
    """Add `run` to the command line."""
    parser = commands.add_parser(
        "run",
        help="talk with a model; it is fetched first if need be",
        allow_abbrev=False,
        description="Talk with a model, as `qwen3cpu chat` does. With a prompt, or with text on stdin, print the "
        "answer and end, as `qwen3cpu generate` does; text on stdin goes before the words of the prompt. A model "
        "that is not on this machine is fetched first.",
    )
    parser.add_argument("model", metavar="MODEL", help="a name such as 1.7B, a hub id, a folder or a file")
    parser.add_words("prompt", metavar="PROMPT", help="words, without quotes if you like")
    parser.add_argument("--system", metavar="TEXT", help="system message")
    add_chat_flags(parser)
    add_answering_flags(parser, named=False)
    add_mcp_flags(parser)
    parser.set_defaults(run=run_run)


def run_run(args: argparse.Namespace) -> int:
    """`qwen3cpu run`."""
    if args.prompt and _has_text_on_stdin():
        before = decode_text(sys.stdin.buffer, "stdin").strip()
        args.prompt = [f"{before}\n\n{' '.join(args.prompt)}"] if before else args.prompt
    inside = args.model in EMBEDDED or os.path.exists(os.path.expanduser(args.model))
    if not inside and not is_fetched(args.model):
        fetch(args.model)
    talks = not args.prompt and sys.stdin is not None and sys.stdin.isatty()
    add, run = (chat.add_command, chat.run_chat) if talks else (generate.add_command, generate.run_generate)
    return run(argparse.Namespace(**{**vars(_defaults(add)), **vars(args)}))


def _has_text_on_stdin() -> bool:
    """Whether stdin is a pipe or a file. A terminal, /dev/null and the socket of a service hold no prompt."""
    if sys.stdin is None:
        return False
    mode = os.fstat(sys.stdin.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _defaults(add: Callable[[Commands], None]) -> argparse.Namespace:
    """The arguments of a command without any flags."""
    commands = CommandParser().add_subparsers()
    add(commands)
    (parser,) = commands.choices.values()
    return parser.parse_args([])
