"""`qwen3cpu chat`: a conversation on the terminal, or a message a line from a pipe."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.mcp import add_mcp_flags, make_toolbox
from qwen3cpu.cli.options import add_adapter_flag, add_model_flags, add_sampling_flags, answer_options, open_model
from qwen3cpu.cli.terminal import CONTROLS, AnswerWriter, figures, note
from qwen3cpu.errors import ArgumentError, Qwen3CpuError
from qwen3cpu.generation.conversation import Conversation
from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.model import Model
from qwen3cpu.packed.cache import cache_folder

if TYPE_CHECKING:
    from qwen3cpu.generation.toolbox import Toolbox

PROMPT = "> "
MOST_STEPS = 25
"""Answers to one message, each with calls but the last."""


def add_command(commands: Commands) -> None:
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
    add_adapter_flag(parser)
    add_sampling_flags(parser)
    add_mcp_flags(parser)
    parser.set_defaults(run=run_chat)


def run_chat(args: argparse.Namespace) -> int:
    """`qwen3cpu chat`."""
    if sys.stdin is None:
        raise ArgumentError("stdin is closed: expected a terminal, or a pipe with a message a line")
    options = answer_options(args)
    # Nobody reads what a pipe is answered before it sends the next line.
    interactive = sys.stdin.isatty()
    toolbox = make_toolbox(args, interactive=interactive)
    model = open_model(args)
    with toolbox or nullcontext():
        if toolbox is not None:
            options["tools"] = toolbox.descriptions
        conversation = model.chat(args.system, prepare="idle" if interactive else None, **options)
        if interactive:
            note(f"{model.source}, {model.quant}, {model.threads} threads. /help lists commands, Ctrl-D ends.")
        ChatLoop(model, conversation, show_thinking=args.show_thinking, toolbox=toolbox).run()
    return 0


class ChatLoop:
    """Reads messages and commands until the end.

    Args:
        model: resumes conversations.
        conversation: answers.
        show_thinking: as for AnswerWriter.
        toolbox: makes the calls that the model asks for; None: there are no tools.
    """

    def __init__(
        self,
        model: Model,
        conversation: Conversation,
        *,
        show_thinking: bool | None,
        toolbox: Toolbox | None = None,
    ) -> None:
        self._model = model
        self._toolbox = toolbox
        self._conversation = conversation
        self._show_thinking = show_thinking
        self._interactive = sys.stdin.isatty()
        self._commands: dict[str, tuple[Callable[[str], None], str]] = {
            "/help": (self._help, "this list"),
            "/exit": (self._exit, "end the conversation (also Ctrl-D)"),
            "/reset": (self._reset, "forget everything but the system message"),
            "/retry": (self._retry, "answer the last message again"),
            "/system": (self._system, "TEXT: change the system message; without TEXT, show it"),
            "/save": (self._save, "FILE: keep the conversation, so that it goes on where it was"),
            "/load": (self._load, "FILE: go on with a conversation that was kept"),
            "/think": (self._think, "let the model think before it answers; with TEXT behind it, send that"),
            "/no_think": (self._no_think, "answer at once; the same"),
            "/auto": (self._auto, "do what the last /think or /no_think inside a message says, else think"),
            "/budget": (self._budget, "N: at most N tokens of thinking; without N, no limit"),
            "/tokens": (self._tokens, "how full the context is"),
        }
        self._ended = False
        self._started = False

    def run(self) -> None:
        """Until /exit, end of input, or Ctrl-C twice in a row."""
        if not self._interactive:
            self._loop()
            return
        with line_history(cache_folder() / "chat_history"):
            self._loop()

    def _loop(self) -> None:
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
        if not self._started:
            line, self._started = line.removeprefix("\ufeff"), True  # a byte order mark is no part of a message
            return line or sys.stdin.readline() or None
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
        """Write an answer, and those that follow the calls in it."""
        result = self._written(chunks)
        for _ in range(MOST_STEPS):
            if self._toolbox is None or result is None or not (result.tool_calls or result.malformed_calls):
                return
            result = self._written(self._conversation.stream(self._results(self._toolbox, result)))
        note(f"qwen3cpu: stopped after {MOST_STEPS} answers with calls")

    def _results(self, toolbox: Toolbox, result: Result) -> list[dict[str, Any]]:
        """Make the calls of an answer. Those that Ctrl-C stops are told in the history."""
        made: list[dict[str, Any]] = []
        try:
            for call in result.tool_calls:
                made.append(toolbox.result(call))
                if self._interactive:
                    note(f"[result] {brief_line(str(made[-1]['content']))}")
        except KeyboardInterrupt:
            left = result.tool_calls[len(made) :]
            self._conversation.messages += [
                *made,
                *(toolbox.message(call, "Error: stopped by the user") for call in left),
            ]
            raise
        return [*made, *toolbox.results((), result.malformed_calls)]

    def _written(self, chunks: Generator[Chunk, None, None]) -> Result | None:
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
        return result

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

    def _save(self, file: str) -> None:
        self._conversation.save(_path("/save", file))

    def _load(self, file: str) -> None:
        loaded = self._model.resume(_path("/load", file))
        self._conversation.close()
        self._conversation = loaded
        if self._toolbox is not None:
            loaded.options["tools"] = self._toolbox.descriptions
        for message in loaded.messages[-2:]:
            print(f"{message['role']}: {message.get('content') or ''}".translate(CONTROLS))

    def _think(self, text: str) -> None:
        self._set_thinking(True, text)

    def _no_think(self, text: str) -> None:
        self._set_thinking(False, text)

    def _auto(self, text: str) -> None:
        self._set_thinking("auto", text)

    def _set_thinking(self, thinking: bool | str, text: str) -> None:
        self._conversation.options["thinking"] = thinking
        if text:
            self._answer(self._conversation.stream(text))

    def _budget(self, text: str) -> None:
        if text and not (text.isascii() and text.isdigit()):
            raise ArgumentError(f"/budget: expected a whole number of tokens, found {text!r}")
        self._conversation.options["thinking_budget"] = int(text) if text else None

    def _tokens(self, _: str) -> None:
        print(f"{self._conversation.cached_tokens} of {self._conversation.context} positions in use")


def brief_line(text: str) -> str:
    """A text on one line of a terminal."""
    line = " ".join(text.split()).translate(CONTROLS)
    return line if len(line) <= 200 else f"{line[:200]}..."


@contextmanager
def line_history(file: Path) -> Iterator[None]:
    """Line editing for input(), with the lines of earlier conversations, the last thousand of which are kept."""
    try:
        import readline
    except ImportError:  # a Python without it: lines cannot be edited then
        yield
        return
    with suppress(OSError):
        readline.read_history_file(file)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            beside = file.with_name(f"{file.name}.{os.getpid()}")
            # What somebody wrote to a model is nobody else's business.
            os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            readline.write_history_file(beside)
            beside.replace(file)


def _path(command: str, file: str) -> Path:
    if not file:
        raise ArgumentError(f"{command}: expected the name of a file, found none")
    return Path(file).expanduser()
