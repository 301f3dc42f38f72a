"""What goes on with a model: background work runs only while it is idle, a draft model only for a single answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from time import monotonic
from weakref import WeakSet

from qwen3cpu.system.fork_guard import ForkLock, call_in_child

QUIET_SECONDS = 0.1
"""Without a forward pass for so long, a model counts as idle: longer than sampling takes between two steps."""


class Pass:
    """A forward pass that somebody waits for, from `Traffic.begin` to `Traffic.end`.

    It also ends when nobody holds this object any more: a Ctrl-C may keep `end` from being called.
    """


class Traffic:
    """Notes the forward passes that somebody waits for, and the answers that run."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._awaited: Callable[[], bool] | None = None
        self._forget()
        call_in_child(self._forget)

    def _forget(self) -> None:
        """Nothing runs: at the start, and in a child process, where the threads that ran passes do not exist."""
        self._passes: WeakSet[Pass] = WeakSet()
        self._batches: WeakSet[Sized] = WeakSet()
        self._ended = monotonic() - QUIET_SECONDS

    def begin(self) -> Pass:
        """A pass begins. Its caller holds what is returned until it is over."""
        begun = Pass()
        with self._lock.held():
            self._passes.add(begun)
        return begun

    def end(self, begun: Pass) -> None:
        """The pass is over."""
        with self._lock.held():
            self._passes.discard(begun)
            self._ended = monotonic()

    def quiet_in(self) -> float:
        """Seconds until the model counts as idle if nothing else comes; 0 when it does."""
        with self._lock.held():
            return QUIET_SECONDS if self._passes else max(0.0, self._ended + QUIET_SECONDS - monotonic())

    def watch(self, batch: Sized) -> None:
        """Count the answers of a batch from now on, as long as there is one."""
        with self._lock.held():
            self._batches.add(batch)

    @contextmanager
    def asking(self, awaited: Callable[[], bool]) -> Iterator[None]:
        """Ask meanwhile whether somebody waits for the step that runs to end."""
        self._awaited = awaited
        try:
            yield
        finally:
            self._awaited = None

    @property
    def alone(self) -> bool:
        """Whether at most one answer runs, and no other request waits for its step to end."""
        with self._lock.held():
            answers = sum(map(len, self._batches))
        return answers <= 1 and not (self._awaited is not None and self._awaited())
