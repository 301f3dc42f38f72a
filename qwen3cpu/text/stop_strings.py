"""Finds stop strings in a streamed text, wherever the stream is cut. They are never shown, not even in part."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Lets text through until one of `stops` is complete. Which one wins does not depend on how the text is cut.

    Args:
        stops: the stop strings, none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.matched: str | None = None
        """The stop string that ended the text."""

    def push(self, text: str) -> str:
        """Add `text`; return the text that can be shown: "" after a stop string is complete."""
        if self.matched is not None:
            return ""
        held = self._held + text
        # The string that is complete first wins, and if two end together, the longer one. Reading the text character by
        # character gives the same result.
        ends = [(held.index(stop) + len(stop), -len(stop), stop) for stop in self._stops if stop in held]
        if ends:
            end, _, self.matched = min(ends)
            self._held = ""
            return held[: end - len(self.matched)]
        keep = max((_open_prefix(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def would_match(self, text: str) -> bool:
        """Whether pushing `text` would complete a stop string."""
        return any(stop in self._held + text for stop in self._stops)

    def flush(self) -> str:
        """Return the text that was held back, when the text ends without a stop string."""
        held, self._held = self._held, ""
        return held


def _open_prefix(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop` and shorter than `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
