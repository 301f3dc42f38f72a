"""Runs background work (preparing a conversation's history) only while the model is idle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qwen3cpu.errors import Qwen3CpuError

if TYPE_CHECKING:
    from qwen3cpu.engine.engine import Engine
    from qwen3cpu.engine.sequence import TokenSequence


logger = logging.getLogger(__name__)


PIECE = 16
"""Tokens in one pass of idle work. A call that comes during a pass waits for no more than these."""


class Preparation:
    """A thread that processes given ids into a sequence, piece by piece while the model is idle, and then ends.

    No other thread may use the sequence until `wait` or `cancel` has returned.

    Args:
        engine: runs the forward passes.
        sequence: the beginning that it shares with the ids is kept.
        ids: called on the thread; returns the ids that the sequence has to hold. Its Qwen3CpuError ends the work.
    """

    def __init__(self, engine: Engine, sequence: TokenSequence, ids: Callable[[], Sequence[int]]) -> None:
        self._engine = engine
        self._sequence = sequence
        self._ids = ids
        self._cancelled = threading.Event()
        # This is not a daemon thread: an ending interpreter would stop that in the middle of a pass.
        self._thread = threading.Thread(target=self._run, name="qwen3cpu-idle")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the work is done."""
        self._thread.join()

    def abandon(self) -> None:
        """Stop after the piece that is being processed, without waiting for it."""
        self._cancelled.set()

    def cancel(self) -> None:
        """Stop after the piece that is being processed, and wait for it."""
        self.abandon()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._prepare(self._ids())
        except (Qwen3CpuError, MemoryError) as error:
            # The next turn will process the missing part, and report the error.
            logger.debug("The history could not be prepared: %s", error)

    def _prepare(self, ids: Sequence[int]) -> None:
        if not self._may_go_on():
            return
        self._sequence.truncate(self._sequence.common_prefix(ids))
        while self._sequence.length < len(ids) and self._may_go_on():
            start = self._sequence.length
            self._engine.forward_idle(self._sequence, ids[start : start + PIECE])

    def _may_go_on(self) -> bool:
        """Wait until the model is idle. Return False when cancelled or when the interpreter is about to end."""
        while not self._cancelled.is_set() and threading.main_thread().is_alive():
            seconds = self._engine.traffic.quiet_in()
            if not seconds:
                return True
            self._cancelled.wait(seconds)
        return False
