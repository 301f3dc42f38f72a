"""Progress in a notebook: a bar and a line of text in the output of the cell, which are updated during the work.

It is plain HTML, so it needs no widgets. Without HTML only the line is shown.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from time import monotonic
from typing import Any, Final

EVERY: Final = 0.5
"""Least seconds between two updates, because each is a message to a browser."""


def in_notebook() -> bool:
    """Whether an IPython kernel runs this code, as in a notebook."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class NotebookLine:
    """A line such as `answering: 120 of 2000 lines, 0:01:10 left`.

    Args:
        description: the work.
        total: units of the work; None: not known.
        unit: "B" for bytes, or a word for what is counted.
        clock: returns seconds.
    """

    def __init__(self, description: str, total: int | None, unit: str, clock: Callable[[], float] = monotonic) -> None:
        display: Any = import_module("IPython.display").display
        self._clock = clock
        self._begin(description, total, unit)
        self._handle = display(self._content(), raw=True, display_id=True)

    def start(self, description: str, total: int | None, unit: str) -> None:
        """Restart from zero with another piece of work."""
        self._begin(description, total, unit)
        self.show()

    def advance(self, n: int) -> None:
        """Count `n` more finished units."""
        self._done += n
        if self._clock() >= self._shown + EVERY:
            self.show()

    def end(self) -> None:
        """Write the line for the last time, with the work done and the time it took."""
        self._ended = True
        self.show()

    def show(self) -> None:
        """Update the line in the notebook."""
        self._shown = self._clock()
        self._handle.update(self._content(), raw=True)

    def _begin(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done, self._ended = 0, False
        self._began = self._shown = self._clock()

    def _content(self) -> dict[str, str]:
        scale, unit = (1e6, "MB") if self._unit == "B" else (1, self._unit)
        text = f"{self._description}: {self._done / scale:.0f}"
        if self._total is not None:
            text += f" of {self._total / scale:.0f} {unit}"
            if 0 < self._done < self._total and not self._ended:
                left = (self._clock() - self._began) * (self._total - self._done) / self._done
                text += f", {timedelta(seconds=round(left))} left"
        else:
            text += f" {unit}"
        if self._ended:
            text += f", {timedelta(seconds=round(self._clock() - self._began))}"
            return {"text/plain": text, "text/html": html.escape(text)}
        place = "" if self._total is None else f' value="{min(self._done, self._total)}" max="{max(1, self._total)}"'
        return {"text/plain": text, "text/html": f"<progress{place}></progress> {html.escape(text)}"}
