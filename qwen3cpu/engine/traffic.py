"""The current use of a model. Background work runs only while it is idle, a draft model only for a single answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from time import monotonic
from weakref import WeakSet

from qwen3cpu.system.fork_guard import ForkLock, call_in_child

QUIET_SECONDS = 0.1
"""A model is idle after this time without a forward pass. It is longer than sampling takes between two steps."""


class Pass:
    """A forward pass that a caller waits for, from `Traffic.begin` to `Traffic.end`.

    It also ends when this object is freed, because Ctrl-C may keep `end` from being called.
    """


class Traffic:
    """Keeps track of the forward passes that callers wait for, and of the answers that run."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._awaited: Callable[[], bool] | None = None
        self._forget()
        call_in_child(self._forget)

    def _forget(self) -> None:
        """Start with no passes and no answers; also in a child process, where the threads of passes do not exist."""
        self._passes: WeakSet[Pass] = WeakSet()
        self._batches: WeakSet[Sized] = WeakSet()
        self._ended = monotonic() - QUIET_SECONDS

    def begin(self) -> Pass:
        """Record that a pass begins. Its caller keeps the returned object until the pass is over."""
        begun = Pass()
        with self._lock.held():
            self._passes.add(begun)
        return begun

    def end(self, begun: Pass) -> None:
        """Record that the pass is over."""
        with self._lock.held():
            self._passes.discard(begun)
            self._ended = monotonic()

    def quiet_in(self) -> float:
        """Seconds until the model is idle if nothing else comes; 0 when it is."""
        with self._lock.held():
            return QUIET_SECONDS if self._passes else max(0.0, self._ended + QUIET_SECONDS - monotonic())

    def watch(self, batch: Sized) -> None:
        """Count the answers of a batch, for as long as the batch exists."""
        with self._lock.held():
            self._batches.add(batch)

    @contextmanager
    def asking(self, awaited: Callable[[], bool]) -> Iterator[None]:
        """Inside the `with` statement, use `awaited` to ask whether a request waits for the running step."""
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
