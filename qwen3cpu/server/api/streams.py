"""Streamed responses, and work that ends when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from qwen3cpu.server.api.errors import ClientGoneError
from qwen3cpu.server.scheduling.jobs import TimeLimitError

KEEP_ALIVE = b": keep-alive\n\n"

T = TypeVar("T")


class PieceStream(Response):
    """Sends what a generator yields, piece by piece, as fast as the client reads.

    Args:
        pieces: the parts of the body. It is closed at its end or when the client has gone. A TimeLimitError from it
            cuts the reply off.
        close: called at the end, whatever the reason.
        media_type: the media type of the response.
        keep_alive: seconds of silence after which `ping` is sent; None: never.
        ping: an event, or a comment of server-sent events.
        headers: the headers of the response.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        close: Callable[[], None],
        media_type: str,
        *,
        keep_alive: float | None = None,
        ping: bytes = KEEP_ALIVE,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers=headers, media_type=media_type)
        del self.headers["content-length"]
        self._pieces = pieces
        self._keep_alive = keep_alive
        self._ping = ping
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        gone = asyncio.create_task(_disconnect(receive))
        event: asyncio.Task[bytes] | None = None
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while True:
                event = event or asyncio.create_task(_next(self._pieces))
                await asyncio.wait({event, gone}, timeout=self._keep_alive, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                if event.done():
                    data, event = event.result(), None
                    if not data:
                        break
                    await send(_body(data))
                else:
                    await send(_body(self._ping))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (OSError, TimeLimitError):
            pass  # the client has gone during a send, or reads too slowly
        finally:
            self._close()
            gone.cancel()
            if event is not None:
                event.cancel()
                await asyncio.wait({event})
            await self._pieces.aclose()


class EventStream(PieceStream):
    """Sends server-sent events.

    Args:
        events: whole events. It is closed at its end or when the client has gone.
        keep_alive: seconds of silence after which `ping` is sent.
        close: called at the end, whatever the reason.
        ping: an event, or a comment.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        keep_alive: float,
        close: Callable[[], None],
        ping: bytes = KEEP_ALIVE,
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, close, "text/event-stream", keep_alive=keep_alive, ping=ping, headers=headers)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. If the client disconnects, cancel it and raise ClientGoneError."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        # An error holds this frame. If the frame held the error too, both would stay until Python's garbage collection.
        del task, gone, work


async def _next(events: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(events, b"")


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}
