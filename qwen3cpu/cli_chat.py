"""`qwen3cpu chat`: a conversation on the terminal, or a message a line from a pipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator
from contextlib import closing

from qwen3cpu.cli_options import add_model_flags, add_sampling_flags, answer_options, open_model
from qwen3cpu.conversation import Conversation
from qwen3cpu.errors import ArgumentError, Qwen3CpuError
from qwen3cpu.results import Chunk
from qwen3cpu.terminal import AnswerWriter, figures, note

PROMPT = "> "


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `chat` to the command line."""
    parser = commands.add_parser(
        "chat",
        help="talk with the model",
        allow_abbrev=False,
        description="Talk with the model. Ctrl-C stops an answer and keeps the conversation; a second Ctrl-C, Ctrl-D "
        "or /exit ends it; /help lists the commands. On a pipe each line of stdin is a message.",
    )
    parser.add_argument("--system", metavar="TEXT", help="system message")
    add_model_flags(parser)
    add_sampling_flags(parser)
    parser.set_defaults(run=run_chat)


def run_chat(args: argparse.Namespace) -> int:
    """`qwen3cpu chat`."""
    options = answer_options(args)
    model = open_model(args)
    # Nobody reads what a pipe is answered before it sends the next line.
    interactive = sys.stdin.isatty()
    conversation = model.chat(args.system, prepare="idle" if interactive else None, **options)
    if interactive:
        note(f"{model.source}, {model.quant}, {model.threads} threads. /help lists commands, Ctrl-D ends.")
    ChatLoop(conversation, show_thinking=args.show_thinking).run()
    return 0


class ChatLoop:
    """Reads messages and commands until the end.

    Args:
        conversation: answers.
        show_thinking: as for AnswerWriter.
    """

    def __init__(self, conversation: Conversation, *, show_thinking: bool | None) -> None:
        self._conversation = conversation
        self._show_thinking = show_thinking
        self._interactive = sys.stdin.isatty()
        self._commands: dict[str, tuple[Callable[[str], None], str]] = {
            "/help": (self._help, "this list"),
            "/exit": (self._exit, "end the conversation (also Ctrl-D)"),
            "/reset": (self._reset, "forget everything but the system message"),
            "/retry": (self._retry, "answer the last message again"),
            "/system": (self._system, "TEXT: change the system message; without TEXT, show it"),
            "/think": (self._think, "let the model think before it answers"),
            "/no_think": (self._no_think, "answer at once"),
            "/budget": (self._budget, "N: at most N tokens of thinking; without N, no limit"),
            "/tokens": (self._tokens, "how full the context is"),
        }
        self._ended = False

    def run(self) -> None:
        """Until /exit, end of input, or Ctrl-C twice in a row."""
        if self._interactive:
            import readline  # noqa: F401  gives input() line editing and history
        interrupted = False
        while not self._ended:
            try:
                line = self._read()
                if line is None:
                    return
                interrupted = False
                self._handle(line)
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                print()
                if interrupted:
                    return
                interrupted = True
                note("stopped; Ctrl-C again or Ctrl-D ends the conversation")
            except Qwen3CpuError as error:
                if not self._interactive:
                    raise
                note(" ".join(str(error).split()))

    def _read(self) -> str | None:
        if self._interactive:
            try:
                return input(PROMPT)
            except EOFError:
                print()
                return None
        line = sys.stdin.readline()
        return line if line else None

    def _handle(self, line: str) -> None:
        text = line.strip()
        word, _, rest = text.partition(" ")
        if word in self._commands:
            self._commands[word][0](rest.strip())
        elif word.startswith("/") and self._interactive:
            note(f"unknown command {word}; /help lists them")
        elif text:
            self._answer(self._conversation.stream(text))

    def _answer(self, chunks: Generator[Chunk, None, None]) -> None:
        writer = AnswerWriter(sys.stdout, show_thinking=self._show_thinking)
        result = None
        try:
            with closing(chunks):
                for chunk in chunks:
                    writer.write(chunk)
                    result = chunk.result
        finally:
            writer.end()
        if result is not None and sys.stderr.isatty():
            note(figures(result))

    def _help(self, _: str) -> None:
        for name, (_run, text) in self._commands.items():
            print(f"  {name:10} {text}")

    def _exit(self, _: str) -> None:
        self._ended = True

    def _reset(self, _: str) -> None:
        self._conversation.reset()

    def _retry(self, _: str) -> None:
        self._answer(self._conversation.retry())

    def _system(self, text: str) -> None:
        if text:
            self._conversation.system = text
        else:
            print(self._conversation.system or "(no system message)")

    def _think(self, _: str) -> None:
        self._conversation.options["thinking"] = True

    def _no_think(self, _: str) -> None:
        self._conversation.options["thinking"] = False

    def _budget(self, text: str) -> None:
        if text and not (text.isascii() and text.isdigit()):
            raise ArgumentError(f"/budget: expected a whole number of tokens, found {text!r}")
        self._conversation.options["thinking_budget"] = int(text) if text else None

    def _tokens(self, _: str) -> None:
        print(f"{self._conversation.cached_tokens} of {self._conversation.context} positions in use")
