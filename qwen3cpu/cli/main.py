"""Runs the command line, `qwen3cpu COMMAND`: parsing, warnings, exit codes. Each command has a file of its own."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from qwen3cpu._version import VERSION
from qwen3cpu.cli.flag_names import in_words_of_flags
from qwen3cpu.errors import Qwen3CpuError, Qwen3CpuWarning
from qwen3cpu.system.signals import INTERRUPTED, ended_by_signals
from qwen3cpu.system.standard_streams import BAD_INPUT, complain, with_streams

if TYPE_CHECKING:
    from qwen3cpu.cli.overview import Overview


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (docs/command-line.md has them)."""
    return with_streams("qwen3cpu", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An answer may hold any character; a terminal or pipe that is not UTF-8 gets "?" for those that it cannot
        # encode.
        sys.stdout.reconfigure(errors="replace")
    if os.environ.get("QWEN3CPU_ISA") == "list":
        return 0  # the native module has written the list when it was imported
    args = argparse.Namespace()
    try:
        parser = make_parser()
        args = parser.parse_args(argv)
        if "run" not in args:
            parser.print_help(sys.stdout)
            return 0
        return _run(args)
    except Qwen3CpuError as error:
        complain("qwen3cpu", in_words_of_flags(str(error), args))
        return BAD_INPUT


def _run(args: argparse.Namespace) -> int:
    """Run a command. Warnings of this package are shown, as dimmed remarks, only when stderr is a terminal."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, Qwen3CpuWarning):
            show_others(message, category, *rest, **more)
        elif sys.stderr.isatty():
            from qwen3cpu.cli.terminal import note

            note(str(message))

    with warnings.catch_warnings():
        show_others, warnings.showwarning = warnings.showwarning, show
        # Ctrl-C may strike after a coroutine was made and before it starts.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        try:
            # A server ends by itself when a signal asks for it.
            with nullcontext() if "handles_signals" in args else ended_by_signals():
                code: int = args.run(args)
        except KeyboardInterrupt:
            code = INTERRUPTED  # here, so that the traceback and its coroutines go while the filter is there
    return code


def make_parser() -> Overview:
    """The parser of the whole command line."""
    from qwen3cpu.cli import (
        batch,
        cache,
        chat,
        completion,
        demo,
        doctor,
        drafts,
        embed,
        eval,
        export,
        generate,
        inspect,
        merge,
        plan,
        pull,
        quantize,
        rm,
        run,
        search,
        serve,
        show,
        verify,
    )
    from qwen3cpu.cli import list as list_
    from qwen3cpu.cli.overview import Overview

    parser = Overview(
        prog="qwen3cpu", description="Qwen3 language models on ordinary CPUs: fast, exact and reproducible."
    )
    parser.add_argument("--version", action="version", version=f"qwen3cpu {VERSION}")
    parser.add_group("Models", (run, pull, list_, show, rm))
    parser.add_group("Answers and search", (generate, chat, batch, embed, search, serve))
    parser.add_group("Files and formats", (inspect, plan, quantize, export, merge, drafts, verify, eval, cache))
    parser.add_group("This machine", (demo, doctor, completion))
    return parser
