"""Shows one answer on a terminal: Markdown while it arrives, thinking dimmed and then folded to a line.

Complete blocks are written once and scroll away. Only the last block is rewritten with each frame, so a frame of a
long answer costs no more than one of a short answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from time import monotonic
from typing import Final, TextIO

from qwen3cpu.cli.chat.blocks import Block, Blocks
from qwen3cpu.cli.chat.live_tail import LiveTail
from qwen3cpu.cli.chat.terminal_markdown import Row, Screen
from qwen3cpu.cli.keys import uninterrupted
from qwen3cpu.generation.results import Chunk

FRAME: Final = 0.05
"""Seconds between two frames at least."""
SLOWEST_FRAME: Final = 0.4
"""Seconds between two frames at most, however long one takes."""
_SHARE: Final = 10
"""Frames take at most one part in this many of the time, unless that exceeds SLOWEST_FRAME."""
_MOST_THINKING: Final = 12
"""Rows of thinking that are shown at most while the model thinks."""
_EMPTY: Final = Row("", 0)


class MarkdownWriter:
    """Writes the chunks of one answer as they arrive.

    Args:
        out: the terminal.
        show_thinking: None: dimmed while it comes, then folded. True: all of it stays. False: it is not shown.
        clock: returns seconds.
        size: returns the columns and lines of the terminal, which may change at any time.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        show_thinking: bool | None = None,
        clock: Callable[[], float] = monotonic,
        size: Callable[[], os.terminal_size] | None = None,
    ) -> None:
        self._show_thinking = show_thinking
        self._clock = clock
        self._size = size or (lambda: _size_of(out))
        self._screen = Screen()
        self._tail = LiveTail(out)
        self._blocks = Blocks()
        self._due = clock()
        self._done: list[Row] = []
        """Rows that the next frame writes for good."""
        self._above = False
        """Whether there is text above, so that an empty line comes before the next block."""
        self._thinking = ""
        self._thinks = False
        self._thought_tokens = 0
        self._thought_since = 0.0

    def write(self, chunk: Chunk) -> None:
        """Show what a chunk adds, at once or with the next frame."""
        with uninterrupted():
            self._write(chunk)

    def end(self) -> None:
        """Write what is left, also of an answer that was stopped, and leave the cursor on an empty line."""
        with uninterrupted():
            self._fold_thinking()
            self._finish_text()
            columns, lines = self._size()
            self._tail.show(self._done, [], columns, lines)
            self._done = []

    def _write(self, chunk: Chunk) -> None:
        if chunk.reasoning:
            if not self._thinks:
                self._thinks, self._thought_since = True, self._clock()
            self._thinking += chunk.reasoning
        if self._thinks:
            self._thought_tokens += len(chunk.token_ids)
        if chunk.text:
            self._fold_thinking()
            self._blocks.add(chunk.text)
        for call in chunk.tool_calls:
            self._fold_thinking()
            self._finish_text()
            arguments = ", ".join(
                f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()
            )
            self._put(self._screen.dimmed(f"[call] {call.name}({arguments})", self._size().columns))
        begun = self._clock()
        if begun >= self._due:
            self._paint()
            self._due = self._clock() + min(SLOWEST_FRAME, max(FRAME, (self._clock() - begun) * _SHARE))

    def _paint(self) -> None:
        columns, lines = self._size()
        if self._thinks:
            live = self._thinking_rows(columns, min(_MOST_THINKING, lines - 2))
        else:
            for block in self._blocks.take():
                self._put_block(block)
            rest = self._blocks.rest()
            live = [] if rest is None else self._block_rows(rest)
        self._tail.show(self._done, live, columns, lines)
        self._done = []

    def _thinking_rows(self, columns: int, most: int) -> list[Row]:
        """The last rows of the thinking. If all of it stays, complete lines become final rows."""
        if self._show_thinking:
            complete, _, self._thinking = self._thinking.rpartition("\n")
            if complete:
                self._done += self._screen.dimmed(complete, columns)
            return self._screen.dimmed(self._thinking, columns)
        head = self._screen.dimmed(f"Thinking, {self._thought_tokens} tokens ...", columns)
        if self._show_thinking is False:
            return head
        return [*head, *self._screen.dimmed(self._thinking[-columns * most :], columns)[1 - most :]]

    def _fold_thinking(self) -> None:
        if not self._thinks:
            return
        columns = self._size().columns
        if self._show_thinking and self._thinking.strip():
            self._done += self._screen.dimmed(self._thinking, columns)
        seconds = self._clock() - self._thought_since
        self._put(self._screen.dimmed(f"Thought for {seconds:.1f} s, {self._thought_tokens} tokens.", columns))
        self._thinks, self._thinking, self._thought_tokens = False, "", 0

    def _finish_text(self) -> None:
        for block in self._blocks.take():
            self._put_block(block)
        rest = self._blocks.rest()
        if rest is not None:
            self._put_block(rest)
        self._blocks.end()

    def _put_block(self, block: Block) -> None:
        rows = self._block_rows(block)
        self._done += rows
        self._above = self._above or bool(rows)

    def _put(self, rows: list[Row]) -> None:
        self._done += [_EMPTY, *rows] if self._above else rows
        self._above = True

    def _block_rows(self, block: Block) -> list[Row]:
        """The rows of a block, after an empty one if there is other text above."""
        rows = self._screen.markdown(block.source, self._size().columns)
        return [_EMPTY, *rows] if rows and self._above and not block.goes_on else rows


def _size_of(terminal: TextIO) -> os.terminal_size:
    """Columns and lines of a terminal; 80 and 24 if it does not tell."""
    columns, lines = os.get_terminal_size(terminal.fileno())
    return os.terminal_size((columns or 80, lines or 24))
