"""Runs an iterator on a thread ahead of its consumer."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_PATIENCE: Final = 0.1  # seconds between two checks of the thread whether it is closed


class _End:
    """The mark after the last result. error: what the iterator has raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Runs an iterator on its own thread.

    The iterator's work overlaps with a forward pass of the consumer, because a pass releases the GIL.

    Args:
        results: the iterator, which runs only on the thread.
        most: the largest number of results that may wait.
    """

    def __init__(self, results: Iterator[T], most: int) -> None:
        self._results = results
        self._ready: Queue[T | _End] = Queue(most)
        self._closed = Event()
        self._ended = False
        self._thread = Thread(target=self._work, name="qwen3cpu-ahead", daemon=True)
        self._thread.start()

    def take(self, *, wait: bool) -> T | None:
        """The next result. None at the end, or, without `wait`, if it is not ready.

        Raises the error of the iterator.
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
        """End the thread. Waits until it has finished its current result."""
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
        """Wait for room, and put a result there. Returns False after `close`."""
        while not self._closed.is_set():
            try:
                self._ready.put(result, timeout=_PATIENCE)
            except Full:
                continue
            return True
        return False
