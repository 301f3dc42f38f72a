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
    """Note the time at which the head of a request came, on the clock of perf_counter; returns it."""
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
        """When it came, on the clock of perf_counter."""
        self.gone = False
        """Whether the client, or the server, has given it up."""
        self._data: bytes | None = None

    async def read(self) -> None:
        """Wait for the body. ApiError when it is too large or of another type."""
        self._data = await read_body(self._http, self._lender.settings.max_body)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count the request until it is with a scheduler. QueueFullError, ShuttingDownError: it has no chance."""
        with self._lender.place() as self._place:
            yield

    async def service(self, offer: Offer) -> Service:
        """The model that the request asks for, as soon as it is in memory. The request keeps it until its end.

        Raises:
            ClientGoneError, TimeLimitError: as of `work`.
            QueueFullError, ShuttingDownError, ModelTooLargeError: the request has no chance.
        """
        held = await self.bounded(self._lender.borrow(offer, loans_of(self._http.scope)))
        if self._place is not None:
            self._place.take(held)
        assert held.service is not None
        return held.service

    async def body(self, check: Callable[[dict[str, object]], B]) -> B:
        """The body.

        Args:
            check: makes it of the JSON object; called on a thread of the workshop.

        Raises:
            ApiError: it is too large, of another type, no JSON, or malformed.
        """
        if self._data is None:
            await self.read()
        return await self.work(lambda: check(parse_json(self._data or b"")))

    async def work(self, function: Callable[[], T], *, grammar: bool = False) -> T:
        """The result of a function that runs on a thread of the workshop.

        Args:
            function: what to do.
            grammar: whether it may have to compile a grammar.

        Raises:
            ClientGoneError: the client has gone; what had not begun never begins.
            TimeLimitError: the request has no time left.
        """
        kind = "grammar" if grammar else kind_of(len(self._data or b""))
        return await self.bounded(self._lender.workshop.run(kind, function))

    async def bounded(self, wanted: Coroutine[Any, Any, T]) -> T:
        """What is waited for as long as the client is there and the request has time.

        Raises:
            ClientGoneError, TimeLimitError: as of `work`.
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
            # Without the frames that raised it: they hold the texts of the request, and some hold the error in turn.
            raise error.with_traceback(None) from None

    def watch(self, count: int) -> None:
        """Raise ClientGoneError when it was given up. For `Tokenizer.encode`."""
        if self.gone:
            raise ClientGoneError
