"""Turns for the processor: the models of a server make their steps one at a time, in the order in which they asked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Gives turns to threads, first come, first served. A step of one model waits for one step of each other at most.

    Every model has as many threads as the processor has cores: two steps at once would take longer than two in turn.
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
        """Wait for a turn of the calling thread; whether others had one since its last, and are likely to want more."""
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
