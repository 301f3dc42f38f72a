"""One progress bar with the time left: on stderr if it is a terminal that can erase, or in a notebook. Else silent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.notebook_line import NotebookLine, in_notebook

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


def is_wanted(asked: bool | None) -> bool:
    """Whether a call shows a bar: as asked; by default only in a notebook, which has no other sign of the work."""
    return in_notebook() if asked is None else asked


def check_progress(progress: object) -> None:
    """Raise ArgumentError unless `progress` is None or a bar with the methods `start` and `advance`."""
    if progress is not None and not all(callable(getattr(progress, name, None)) for name in ("start", "advance")):
        raise ArgumentError(f"progress: expected a progress bar or None, found {type(progress).__name__}")


class Progress:
    """A context manager around one bar. `unit` "B" shows bytes and bytes per second; any other word shows counts.

    The bar appears with the first `start` or on entering with a known description; `start` may be called again to
    reuse it for the next piece of work.
    """

    def __init__(self, description: str, total: int | None, unit: str = "B") -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._line: NotebookLine | None = None

    def __enter__(self) -> Progress:
        if in_notebook():
            self._line = NotebookLine(self._description, self._total, self._unit)
        elif sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            # On a dumb terminal a bar would be an empty line.
            self._bar = _make_bar(self._unit)
            self._task = self._bar.add_task(self._description, total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._line is not None:
            self._line.end()
        self._bar = self._task = self._line = None

    def start(self, description: str, total: int | None, unit: str | None = None) -> None:
        """Restart from zero with another description, total (None: not known) and unit (None: the same)."""
        self._description, self._total = description, total
        if self._line is not None:
            self._unit = unit or self._unit
            self._line.start(description, total, self._unit)
        if self._bar is None or self._task is None:
            self._unit = unit or self._unit
        elif unit is None or unit == self._unit:
            self._bar.reset(self._task, description=description, total=total)
        else:
            self._bar.stop()
            self._unit = unit
            self.__enter__()

    def advance(self, n: int) -> None:
        """Count `n` more finished units."""
        if self._line is not None:
            self._line.advance(n)
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, n)

    @contextmanager
    def beside(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a second bar in a terminal during a block. Yields a function that takes the finished units."""
        if self._bar is None:
            yield lambda done: None
            return
        bar, task = self._bar, self._bar.add_task(description, total=total)
        try:
            yield lambda done: bar.update(task, completed=done)
        finally:
            bar.remove_task(task)


def _make_bar(unit: str) -> RichProgress:
    # Imported here because most processes never show a bar and rich takes tens of milliseconds.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    counts: list[ProgressColumn] = (
        [DownloadColumn(), TransferSpeedColumn()] if unit == "B" else [MofNCompleteColumn(), TextColumn(unit)]
    )
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        *counts,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
