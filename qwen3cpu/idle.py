"""Work done while nobody uses a model, and the rule that it gets out of everybody's way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from qwen3cpu.errors import Qwen3CpuError

if TYPE_CHECKING:
    from qwen3cpu.engine import Engine
    from qwen3cpu.sequence import TokenSequence

logger = logging.getLogger(__name__)

PIECE = 16
"""Tokens in one pass of idle work: a call that comes meanwhile waits for no more than these."""
QUIET_SECONDS = 0.1
"""Without a forward pass for so long, a model counts as idle: longer than sampling takes between two steps."""


class Traffic:
    """Notes the forward passes that somebody waits for: a context manager around each of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._passes = 0
        self._ended = monotonic() - QUIET_SECONDS

    def __enter__(self) -> None:
        with self.lock:
            self._passes += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self.lock:
            self._passes -= 1
            self._ended = monotonic()

    def quiet_in(self) -> float:
        """Seconds until the model counts as idle if nothing else comes; 0 when it does."""
        with self.lock:
            return QUIET_SECONDS if self._passes else max(0.0, self._ended + QUIET_SECONDS - monotonic())


class Preparation:
    """A thread that lets a sequence hold given ids, piece by piece while the model is idle, and then ends.

    The sequence belongs to it until `wait` or `cancel` has returned.

    Args:
        engine: runs the forward passes.
        sequence: what it has in common with the ids is kept.
        ids: called on the thread: what to hold in the end; its Qwen3CpuError ends the work.
    """

    def __init__(self, engine: Engine, sequence: TokenSequence, ids: Callable[[], Sequence[int]]) -> None:
        self._engine = engine
        self._sequence = sequence
        self._ids = ids
        self._cancelled = threading.Event()
        # No daemon: the interpreter would stop it in the middle of a pass when it ends.
        self._thread = threading.Thread(target=self._run, name="qwen3cpu-idle")
        self._thread.start()

    def wait(self) -> None:
        """Return when the work is done."""
        self._thread.join()

    def abandon(self) -> None:
        """Stop as `cancel` does, without waiting for it."""
        self._cancelled.set()

    def cancel(self) -> None:
        """Stop after the piece that is being processed, and return then."""
        self.abandon()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._prepare(self._ids())
        except (Qwen3CpuError, MemoryError) as error:
            # The next turn will process what is missing, and report what is wrong.
            logger.debug("The history could not be prepared: %s", error)

    def _prepare(self, ids: Sequence[int]) -> None:
        if not self._may_go_on():
            return
        self._sequence.truncate(self._sequence.common_prefix(ids))
        while self._sequence.length < len(ids) and self._may_go_on():
            start = self._sequence.length
            self._engine.forward_idle(self._sequence, ids[start : start + PIECE])

    def _may_go_on(self) -> bool:
        """Wait until the model is idle. False when cancelled, or when the interpreter is about to end."""
        while not self._cancelled.is_set() and threading.main_thread().is_alive():
            seconds = self._engine.traffic.quiet_in()
            if not seconds:
                return True
            self._cancelled.wait(seconds)
        return False
