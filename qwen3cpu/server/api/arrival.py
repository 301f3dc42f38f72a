"""A request from its arrival until the scheduler has it: its body, its time limit, and the work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

from starlette.requests import Request as HttpRequest
from starlette.types import Scope

from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.server.api.errors import ApiError, ClientGoneError
from qwen3cpu.server.api.request_json import parse_json, read_body
from qwen3cpu.server.api.streams import while_connected
from qwen3cpu.server.scheduling.jobs import TimeLimitError
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.workshop import kind_of

T = TypeVar("T")
B = TypeVar("B")

_ARRIVED = "qwen3cpu.arrived"


def note_arrival(scope: Scope) -> None:
    """Note the time at which the head of a request came."""
    scope[_ARRIVED] = perf_counter()


class Arrival:
    """A request that has no job yet.

    Args:
        http: the request.
    """

    def __init__(self, http: HttpRequest) -> None:
        self._http = http
        self._service: Service = http.app.state.service
        self.at: float = http.scope.get(_ARRIVED, perf_counter())
        """When it came, on the clock of perf_counter."""
        self.gone = False
        """Whether the client, or the server, has given it up."""
        self._data: bytes | None = None

    async def read(self) -> None:
        """Wait for the body. ApiError when it is too large or of another type."""
        self._data = await read_body(self._http, self._service.settings.max_body)

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
        limit = self._service.settings.timeout
        left = self.at + limit - perf_counter()
        if left <= 0:
            raise TimeLimitError(f"the request took longer than {limit:g} seconds")
        work = while_connected(self._http.receive, self._service.workshop.run(kind, function))
        try:
            return await asyncio.wait_for(work, left)
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
