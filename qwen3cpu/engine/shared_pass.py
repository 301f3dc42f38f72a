"""Runs forward passes that several threads ask for at the same time as one: the weights are read once for all of them.

The logits do not change, because a sequence's logits do not depend on what else is in a pass.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from qwen3cpu.engine.batch import BatchItem, Rows
from qwen3cpu.system.fork_guard import ForkLock, call_in_child

Run: TypeAlias = Callable[[Sequence[BatchItem]], Rows]
"""A pass over the weights."""


class _Call:
    def __init__(self, items: Sequence[BatchItem]) -> None:
        self.items = items
        self.tokens = sum(len(item.ids) for item in items)
        self.rows: Rows | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.rows is not None or self.error is not None


class SharedPass:
    """Runs calls one after the other. Those that came while one was running share the next pass.

    Args:
        most_tokens: most tokens in a pass of more than one call.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._lock = ForkLock()
        self._waiting: list[_Call] = []
        self._turn = ForkLock()
        call_in_child(self._forget)

    def _forget(self) -> None:
        """Drop the waiting calls in a child process, where their threads do not exist."""
        self._waiting.clear()

    def __call__(self, items: Sequence[BatchItem], run: Run) -> Rows:
        """Return the rows of these items, or raise the error that they cause by themselves.

        Args:
            items: of this thread's call.
            run: the pass, the same for all calls. When it fails, no sequence has changed.
        """
        call = _Call(items)
        try:
            with self._lock.held():
                self._waiting.append(call)
            with self._turn.held():
                while not call.done:
                    _run_together(self._next(call), run)
        except BaseException:
            self._withdraw(call)
            raise
        if call.error is not None:
            raise call.error
        assert call.rows is not None
        return call.rows

    def _next(self, own: _Call) -> list[_Call]:
        """Take the oldest calls, as many as fit into one pass.

        The main thread runs its own call only, so that Ctrl-C there does not interrupt the calls of other threads.
        """
        with self._lock.held():
            if threading.current_thread() is threading.main_thread():
                self._waiting.remove(own)
                return [own]
            count, tokens = 1, self._waiting[0].tokens
            for call in self._waiting[1:]:
                tokens += call.tokens
                if tokens > self._most_tokens:
                    break
                count += 1
            calls, self._waiting[:count] = self._waiting[:count], []
        return calls

    def _withdraw(self, call: _Call) -> None:
        """After Ctrl-C: return when no pass over the call's sequences runs or will run."""
        with self._lock.held():
            if call in self._waiting:
                self._waiting.remove(call)
                return
        with self._turn.held():
            return


def _run_together(calls: list[_Call], run: Run) -> None:
    if len(calls) > 1:
        try:
            rows = run([item for call in calls for item in call.items])
        except Exception:
            # Only one of the calls may have caused the error.
            for call in calls:
                _run_alone(call, run)
            return
        for call in calls:
            call.rows, rows = rows[: len(call.items)], rows[len(call.items) :]
    else:
        _run_alone(calls[0], run)


def _run_alone(call: _Call, run: Run) -> None:
    try:
        call.rows = run(call.items)
    except Exception as error:
        call.error = error
