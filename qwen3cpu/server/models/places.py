"""Limits the number of requests that have arrived and are not with a scheduler yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qwen3cpu.server.models.held import HeldModel
from qwen3cpu.server.scheduling.jobs import QueueFullError

RETRY_SECONDS = 5
"""Seconds after which a client may try again when too many requests wait for models."""


class Place:
    """The place of one request, first among the requests without a model, then among those for one model.

    Args:
        places: the places of the server.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held: HeldModel | None = None

    def take(self, held: HeldModel) -> None:
        """Count the request for a model. Raises QueueFullError, ShuttingDownError if it cannot be served."""
        assert held.service is not None
        if self._held is None:
            held.service.scheduler.check_room(held.preparing)
            self._held = held
            held.preparing += 1
            self._places.unsorted -= 1

    def leave(self) -> None:
        """Stop counting the request, because it is with a scheduler or over."""
        if self._held is None:
            self._places.unsorted -= 1
        else:
            self._held.preparing -= 1


class Places:
    """Counts the requests without a model.

    Args:
        most: the largest number of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.unsorted = 0
        """The number of requests that have arrived and have no model yet."""

    @contextmanager
    def place(self, single: HeldModel | None) -> Iterator[Place]:
        """A place for a request.

        Args:
            single: the only model of the server; None: the request's model is not known yet.

        Raises:
            QueueFullError, ShuttingDownError: the request cannot be served.
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
