"""The end of the screen: rows that are written once and scroll away, and live rows below, which are rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from qwen3cpu.cli.chat.terminal_markdown import Row


class LiveTail:
    """Writes rows to a terminal. Its cursor must be at the beginning of a line at first.

    Args:
        out: the terminal.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live: list[int] = []
        """Cells of the live rows, which will be rewritten. The cursor is at the end of the last one."""

    def show(self, done: Sequence[Row], live: Sequence[Row], columns: int, lines: int) -> None:
        """Replace the live rows.

        Args:
            done: rows that stay.
            live: rows below them, of which the last that fit on the screen are shown.
            columns: the terminal's current width. It has wrapped the rows that were written at a larger width.
            lines: the terminal's height.
        """
        up = sum(_lines(cells, columns) for cells in self._live) - 1
        back = "\r" + (f"\x1b[{min(up, lines - 1)}A" if up > 0 else "") + "\x1b[J" if self._live else ""
        shown: list[Row] = []
        room = lines - 1
        for row in reversed(live):
            room -= _lines(row.cells, columns)
            if room < 0:
                break
            shown.insert(0, row)
        self._live = [row.cells for row in shown]
        above = "".join(f"{row.text}\n" for row in done)
        self._out.write(back + above + "\n".join(row.text for row in shown))
        self._out.flush()


def _lines(cells: int, columns: int) -> int:
    """The number of lines of the terminal that a row takes."""
    return max(1, -(-cells // max(1, columns)))
