"""Counts of responses and durations of requests by path. Only the event loop writes and reads them."""

from __future__ import annotations

from collections import Counter

from qwen3cpu.server.scheduling.stats import Histogram


class HttpStats:
    """Counters since the start."""

    def __init__(self) -> None:
        self.responses: Counter[tuple[str, int]] = Counter()
        """Counts of responses by path and status."""
        self.seconds: dict[str, Histogram] = {}
        """By path: seconds from the arrival of a request until its response has been sent."""

    def ended(self, path: str, seconds: float) -> None:
        """Note that a request is over, after this many seconds."""
        found = self.seconds.get(path)
        if found is None:
            found = self.seconds[path] = Histogram()
        found.note(seconds)
