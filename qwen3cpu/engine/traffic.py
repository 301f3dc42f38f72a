"""Counts the forward passes that somebody waits for, so that background work runs only while the model is idle."""

from __future__ import annotations

from time import monotonic
from types import TracebackType

from qwen3cpu.system.fork_guard import ForkLock, call_in_child

QUIET_SECONDS = 0.1
"""Without a forward pass for so long, a model counts as idle: longer than sampling takes between two steps."""


class Traffic:
    """Notes the forward passes that somebody waits for: a context manager around each of them."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._forget()
        call_in_child(self._forget)

    def _forget(self) -> None:
        """Nothing runs: at the start, and in a child process, where the threads that ran passes do not exist."""
        self._passes = 0
        self._ended = monotonic() - QUIET_SECONDS

    def __enter__(self) -> None:
        with self._lock:
            self._passes += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._passes -= 1
            self._ended = monotonic()

    def quiet_in(self) -> float:
        """Seconds until the model counts as idle if nothing else comes; 0 when it does."""
        with self._lock:
            return QUIET_SECONDS if self._passes else max(0.0, self._ended + QUIET_SECONDS - monotonic())
