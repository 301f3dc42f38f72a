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
"""Tokens in one pass of idle work: a call that comes meanwhile waits for no more than these."""


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
