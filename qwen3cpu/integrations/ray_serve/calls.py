"""HTTP requests as plain data, and an ASGI application that answers them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import ASGIApp, Message

_MOST_WAITING: Final = 64  # messages that the consumer has not taken yet


@dataclass(frozen=True)
class Call:
    """A whole request. scope: the part of its ASGI scope that can be sent to another process."""

    scope: dict[str, Any]
    body: bytes


@dataclass(frozen=True)
class Head:
    """The status and headers of a response."""

    status: int
    headers: list[tuple[bytes, bytes]]


_SCOPE: Final = ("http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers")


def call_of(scope: Any, body: bytes) -> Call:
    """The Call of a request to an ASGI server."""
    plain = {name: scope[name] for name in _SCOPE if name in scope}
    return Call({**plain, "type": "http", "client": tuple(scope.get("client") or ("", 0))}, body)


async def respond(app: ASGIApp, call: Call) -> AsyncGenerator[Head | bytes, None]:
    """Run an application on a request. Yields the head of its response, and then pieces of its body.

    Closing the generator signals a disconnected client to the application, and waits for its end.
    """
    messages: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
    gone = asyncio.Event()
    bodies = [call.body]

    async def receive() -> Message:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if gone.is_set():
            raise OSError("the client has gone")
        await messages.put(message)

    async def run() -> None:
        try:
            await app({**call.scope, "state": {}, "server": None}, receive, send)
        finally:
            if not gone.is_set():
                await messages.put(None)

    task = asyncio.create_task(run())
    try:
        while (message := await messages.get()) is not None:
            if message["type"] == "http.response.start":
                yield Head(message["status"], [(bytes(name), bytes(value)) for name, value in message["headers"]])
            elif piece := message.get("body", b""):
                yield piece
        await task
    finally:
        gone.set()
        while not messages.empty():  # the application may be waiting for room
            messages.get_nowait()
        await asyncio.wait({task})
