"""Results of an iterator, made by a thread that works ahead of who takes them."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_PATIENCE: Final = 0.1  # seconds until the thread looks whether it is still wanted


class _End:
    """Stands behind the last result. error: what the iterator has raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Walks through an iterator on a thread of its own.

    What the thread does overlaps with a forward pass of the thread that takes the results, because a pass lets other
    threads run Python.

    Args:
        results: runs on the thread only.
        most: results that may wait to be taken.
    """

    def __init__(self, results: Iterator[T], most: int) -> None:
        self._results = results
        self._ready: Queue[T | _End] = Queue(most)
        self._closed = Event()
        self._ended = False
        self._thread = Thread(target=self._work, name="qwen3cpu-ahead", daemon=True)
        self._thread.start()

    def take(self, *, wait: bool) -> T | None:
        """The next result, or None: there are no more, or, without `wait`, it is not ready.

        Raises what the iterator has raised.
        """
        if self._ended:
            return None
        try:
            result = self._ready.get(block=wait)
        except Empty:
            return None
        if not isinstance(result, _End):
            return result
        self._ended = True
        if result.error is not None:
            raise result.error
        return None

    def close(self) -> None:
        """End the thread; waits for the result that it works on."""
        self._closed.set()
        self._thread.join()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for result in self._results:
                if not self._hand_over(result):
                    return
        except BaseException as reason:
            error = reason
        self._hand_over(_End(error))

    def _hand_over(self, result: T | _End) -> bool:
        """Wait for room; False when nobody takes results any more."""
        while not self._closed.is_set():
            try:
                self._ready.put(result, timeout=_PATIENCE)
            except Full:
                continue
            return True
        return False
