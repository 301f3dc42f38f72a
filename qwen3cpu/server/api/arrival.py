"""A request from its arrival until a scheduler has it: its body, its time limit, its model, and the work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest
from starlette.types import Scope

from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.server.api.errors import ApiError, ClientGoneError
from qwen3cpu.server.api.request_json import parse_json, read_body
from qwen3cpu.server.api.streams import while_connected
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.loans import loans_of
from qwen3cpu.server.models.offers import Offer
from qwen3cpu.server.models.places import Place
from qwen3cpu.server.scheduling.jobs import TimeLimitError
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.workshop import kind_of

T = TypeVar("T")
B = TypeVar("B")

_ARRIVED = "qwen3cpu.arrived"


def note_arrival(scope: Scope) -> float:
    """Note and return the time when the head of a request arrived, on the clock of perf_counter."""
    scope[_ARRIVED] = arrived = perf_counter()
    return arrived


class Arrival:
    """A request that has no job yet.

    Args:
        http: the request.
    """

    def __init__(self, http: HttpRequest) -> None:
        self._http = http
        self._lender: Lender = http.app.state.lender
        self._place: Place | None = None
        self.at: float = http.scope.get(_ARRIVED, perf_counter())
        """Time of its arrival, on the clock of perf_counter."""
        self.gone = False
        """Whether the client has gone, or the time limit has ended it."""
        self._data: bytes | None = None

    async def read(self) -> None:
        """Wait for the body. ApiError when it is too large or of another type."""
        self._data = await read_body(self._http, self._lender.settings.max_body)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count the request until it is with a scheduler. Raises QueueFullError, ShuttingDownError."""
        with self._lender.place() as self._place:
            yield

    async def service(self, offer: Offer) -> Service:
        """Wait for the model that the request asks for. It stays in memory until the end of the request.

        Raises:
            ClientGoneError, TimeLimitError: see `work`.
            QueueFullError, ShuttingDownError, ModelTooLargeError: the request cannot be served.
        """
        held = await self.bounded(self._lender.borrow(offer, loans_of(self._http.scope)))
        if self._place is not None:
            self._place.take(held)
        assert held.service is not None
        return held.service

    async def body(self, check: Callable[[dict[str, object]], B]) -> B:
        """Read and check the body.

        Args:
            check: makes the body from the JSON object; called on a thread of the workshop.

        Raises:
            ApiError: it is too large, of another content type, not JSON, or malformed.
        """
        if self._data is None:
            await self.read()
        return await self.work(lambda: check(parse_json(self._data or b"")))

    async def work(self, function: Callable[[], T], *, grammar: bool = False) -> T:
        """Run a function on a thread of the workshop, and return its result.

        Args:
            function: the work.
            grammar: whether it may compile a grammar.

        Raises:
            ClientGoneError: the client has gone. Work that has not started never starts.
            TimeLimitError: the request has no time left.
        """
        kind = "grammar" if grammar else kind_of(len(self._data or b""))
        return await self.bounded(self._lender.workshop.run(kind, function))

    async def bounded(self, wanted: Coroutine[Any, Any, T]) -> T:
        """Wait for a result while the client is connected and the request has time left.

        Raises:
            ClientGoneError, TimeLimitError: see `work`.
        """
        limit = self._lender.settings.timeout
        left = self.at + limit - perf_counter()
        if left <= 0:
            wanted.close()
            raise TimeLimitError(f"the request took longer than {limit:g} seconds")
        try:
            return await asyncio.wait_for(while_connected(self._http.receive, wanted), left)
        except asyncio.TimeoutError:
            self.gone = True
            raise TimeLimitError(f"the request took longer than {limit:g} seconds") from None
        except ClientGoneError:
            self.gone = True
            raise
        except (ApiError, Qwen3CpuError) as error:
            # Drop the frames that raised it, because they hold the texts of the request, and some hold the error.
            raise error.with_traceback(None) from None

    def watch(self, count: int) -> None:
        """Raise ClientGoneError when the request was given up. For `Tokenizer.encode`."""
        if self.gone:
            raise ClientGoneError
