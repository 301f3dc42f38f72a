"""One turn of a chat: an answer on the screen, its tool calls, and the answers that follow them."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from qwen3cpu.cli.chat.abilities import shows_markdown
from qwen3cpu.cli.chat.remarks import remark
from qwen3cpu.cli.chat.state import Chat
from qwen3cpu.cli.terminal import AnswerWriter, figures
from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.system.standard_streams import CONTROLS

if TYPE_CHECKING:
    from qwen3cpu.generation.toolbox import Toolbox

MOST_STEPS = 25
"""Answers with tool calls to one message at most."""


class Writer(Protocol):
    """Shows one answer."""

    def write(self, chunk: Chunk) -> None: ...
    def end(self) -> None: ...


def answer(chat: Chat, chunks: Generator[Chunk, None, None]) -> None:
    """Show an answer, and those that follow its tool calls."""
    result = _shown(chat, chunks)
    for _ in range(MOST_STEPS):
        if chat.toolbox is None or result is None or not (result.tool_calls or result.malformed_calls):
            return
        result = _shown(chat, chat.conversation.stream(_results(chat, chat.toolbox, result)))
    remark(f"qwen3cpu: stopped after {MOST_STEPS} answers with calls")


def _results(chat: Chat, toolbox: Toolbox, result: Result) -> list[dict[str, Any]]:
    """Make the calls of an answer. The history says which calls Ctrl-C stopped."""
    made: list[dict[str, Any]] = []
    try:
        for call in result.tool_calls:
            made.append(toolbox.result(call))
            chat.confirm(f"[result] {brief_line(str(made[-1]['content']))}")
    except KeyboardInterrupt:
        left = result.tool_calls[len(made) :]
        chat.conversation.messages += [
            *made,
            *(toolbox.message(call, "Error: stopped by the user") for call in left),
        ]
        raise
    return [*made, *toolbox.results((), result.malformed_calls)]


def _shown(chat: Chat, chunks: Generator[Chunk, None, None]) -> Result | None:
    writer = make_writer(chat)
    result = None
    with closing(chunks):
        try:
            for chunk in chunks:
                writer.write(chunk)
                result = chunk.result
        finally:
            writer.end()
    if result is not None and sys.stderr.isatty():
        remark(figures(result))
    return result


def make_writer(chat: Chat) -> Writer:
    """Make the writer that shows the answers of a chat."""
    if chat.markdown and chat.interactive and shows_markdown():
        from qwen3cpu.cli.chat.markdown_writer import MarkdownWriter

        return MarkdownWriter(sys.stdout, show_thinking=chat.show_thinking)
    return AnswerWriter(sys.stdout, show_thinking=chat.show_thinking)


def brief_line(text: str) -> str:
    """A text on one line, without control characters and of at most 200 characters."""
    line = " ".join(text.split()).translate(CONTROLS)
    return line if len(line) <= 200 else f"{line[:200]}..."
