"""Turns for the processor: the models of a server run their steps one at a time, in the order of their requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Gives turns to threads, first come, first served. A step waits for at most one step of each other model.

    Every model has as many threads as the processor has cores, so two steps at once would take longer than in turn.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._line: deque[threading.Lock] = deque()
        self._last = 0

    @property
    def wanted(self) -> bool:
        """Whether a thread waits for a turn."""
        return bool(self._line)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait for a turn of the calling thread. Yields whether another thread had the last turn, and may want more."""
        self._enter()
        try:
            mine = threading.get_ident()
            shared, self._last = self._last not in (0, mine), mine
            yield shared
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            place = threading.Lock()
            place.acquire()
            self._line.append(place)
        place.acquire()

    def _leave(self) -> None:
        with self._lock:
            if self._line:
                self._line.popleft().release()
            else:
                self._taken = False
