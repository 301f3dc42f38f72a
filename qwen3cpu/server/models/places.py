"""The places of requests that have arrived and are not with a scheduler yet: so many, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qwen3cpu.server.models.held import HeldModel
from qwen3cpu.server.scheduling.jobs import QueueFullError

RETRY_SECONDS = 5
"""After which a request may be sent again that found too many waiting for models."""


class Place:
    """The place of one request: among those without a model first, then among those for one.

    Args:
        places: of the server.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held: HeldModel | None = None

    def take(self, held: HeldModel) -> None:
        """Count for a model from now on. QueueFullError, ShuttingDownError: the request has no chance."""
        assert held.service is not None
        if self._held is None:
            held.service.scheduler.check_room(held.preparing)
            self._held = held
            held.preparing += 1
            self._places.unsorted -= 1

    def leave(self) -> None:
        """The request is with a scheduler, or over."""
        if self._held is None:
            self._places.unsorted -= 1
        else:
            self._held.preparing -= 1


class Places:
    """Counts the requests without a model.

    Args:
        most: of them at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.unsorted = 0
        """Requests that have arrived and have no model yet."""

    @contextmanager
    def place(self, single: HeldModel | None) -> Iterator[Place]:
        """A place for a request.

        Args:
            single: the only model of the server; None: the request has yet to say which one it wants.

        Raises:
            QueueFullError, ShuttingDownError: the request has no chance.
        """
        if single is None and self.unsorted >= self._most:
            raise QueueFullError(self.unsorted, RETRY_SECONDS)
        place = Place(self)
        self.unsorted += 1
        try:
            if single is not None:
                place.take(single)
            yield place
        finally:
            place.leave()
