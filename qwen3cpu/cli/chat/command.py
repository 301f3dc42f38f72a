"""The flags of `qwen3cpu chat`, and its start."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.mcp import add_mcp_flags, make_toolbox
from qwen3cpu.cli.options import (
    add_answering_flags,
    answer_options,
    open_model,
)
from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.text.tokenizer import check_text


def add_command(commands: Commands) -> None:
    """Add `chat` to the command line."""
    parser = commands.add_parser(
        "chat",
        help="talk with the model",
        allow_abbrev=False,
        description="Talk with the model. Ctrl-C stops an answer and keeps the conversation; a second Ctrl-C, Ctrl-D "
        "or /bye ends it; /? lists the commands. On a pipe each line of stdin is a message.",
    )
    parser.add_argument("--system", metavar="TEXT", help="system message")
    add_chat_flags(parser)
    add_answering_flags(parser)
    add_mcp_flags(parser)
    parser.set_defaults(run=run_chat)


def add_chat_flags(parser: argparse.ArgumentParser) -> None:
    """Add --no-history and --no-markdown."""
    group = parser.add_argument_group("terminal")
    group.add_argument(
        "--no-history",
        action="store_true",
        help="do not keep what is typed (default: the cursor keys find lines of earlier conversations)",
    )
    group.add_argument(
        "--no-markdown",
        action="store_true",
        help="show answers as the model writes them (default on a terminal: Markdown is rendered, thinking is folded)",
    )


def run_chat(args: argparse.Namespace) -> int:
    """`qwen3cpu chat`."""
    if sys.stdin is None:
        raise ArgumentError("stdin is closed: expected a terminal, or a pipe with a message on each line")
    if args.system is not None:
        check_text(args.system, "--system")
    options = answer_options(args)
    # A pipe sends its next line without waiting for the answer, so nothing is prepared between the two.
    interactive = sys.stdin.isatty()
    toolbox = make_toolbox(args, interactive=interactive)
    model = open_model(args)
    # Imported here, because no other command needs them.
    from qwen3cpu.cli.chat.loop import ChatLoop
    from qwen3cpu.cli.chat.remarks import remark
    from qwen3cpu.cli.chat.state import Chat

    with toolbox or nullcontext():
        if toolbox is not None:
            options["tools"] = toolbox.descriptions
        conversation = model.chat(args.system, prepare="idle" if interactive else None, **options)
        if interactive:
            remark(f"{model.source}, {model.quant}, {model.threads} threads. /? lists commands, Ctrl-D ends.")
        chat = Chat(
            model=model,
            conversation=conversation,
            interactive=interactive,
            open_model=lambda name: _open_other(args, name),
            show_thinking=args.show_thinking,
            markdown=not args.no_markdown,
            history=not args.no_history,
            toolbox=toolbox,
        )
        ChatLoop(chat).run()
    return 0


def _open_other(args: argparse.Namespace, name: str) -> Model:
    """Another model with the same flags. An adapter is made for one model only."""
    return open_model(argparse.Namespace(**{**vars(args), "model": name, "adapter": None}))
