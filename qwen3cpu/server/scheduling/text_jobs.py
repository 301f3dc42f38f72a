"""A job of the text scheduler: a request for vectors or scores."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeAlias

from qwen3cpu.engine.engine import Engine
from qwen3cpu.retrieval.window import WINDOW, State, Window

States: TypeAlias = "list[State]"
"""The hidden states of a request's texts, in their order."""


@dataclass(eq=False)
class TextJob:
    """Texts whose hidden states are wanted.

    Attributes:
        texts: token ids of each, at least one and no more than the context.
        sink: gets all states, or one exception.
        timeout: seconds that it may take from its creation to its end.
        state_bytes: bytes of all states.
    """

    texts: Sequence[array[int]]
    sink: Callable[[States | Exception], None]
    timeout: float
    state_bytes: int
    created: float = field(default_factory=perf_counter)
    number: int = 0
    """Place in the order of arrival."""
    cancelled: bool = False
    """Set from any thread; the scheduler drops the job before its next pass."""
    unfinished: int = 1
    """1 until all states are complete, then 0."""
    states: States = field(default_factory=list)
    """The states of the completed windows."""
    window: Window | None = None
    """The texts in work."""

    @property
    def deadline(self) -> float:
        """The time by which it must end, on the clock of perf_counter."""
        return self.created + self.timeout

    def open_window(self, engine: Engine) -> Window:
        """The window in work; a new one if there is none."""
        if self.window is None:
            start = len(self.states)
            self.window = Window(engine, self.texts[start : start + WINDOW])
        return self.window

    def close_window(self) -> None:
        """Keep the states of a completed window, or drop an incomplete one."""
        if self.window is not None:
            if self.window.done:
                self.states += self.window.states
            self.window.close()
            self.window = None
        if len(self.states) == len(self.texts):
            self.unfinished = 0
