"""Takes requests from the proxies of Ray Serve, chooses a replica by their beginning, and forwards its response."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3cpu.integrations.ray_serve.calls import Call, Head, call_of
from qwen3cpu.integrations.ray_serve.routing import beginning_of
from qwen3cpu.server.api.errors import ANTHROPIC_PATHS, ApiError
from qwen3cpu.server.api.json_output import json_bytes

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 3
_LOST: Final = (RayActorError, DeploymentUnavailableError)


class Front:
    """The deployment that takes requests.

    Args:
        engine: the deployment that answers them.
        max_body: the largest number of bytes of a request's body.
    """

    def __init__(self, engine: DeploymentHandle, max_body: int) -> None:
        self._engine = engine
        self._max_body = max_body

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return FrontApp(self._engine, self._max_body)


class FrontApp:
    """The ASGI application of a front. Arguments: see `Front`."""

    def __init__(self, engine: DeploymentHandle, max_body: int) -> None:
        self._engine = engine.options(stream=True)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        body = await _read(receive, self._max_body)
        if body is None:
            error = ApiError(413, f"the body: expected at most {self._max_body} bytes, found more")
            await error.response(scope["path"])(scope, receive, send)
            return
        await self._answer(scope, call_of(scope, body), send)

    async def _answer(self, scope: Scope, call: Call, send: Send) -> None:
        head: Head | None = None
        try:
            async with aclosing(self._pieces(call)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Head):
                        head = piece
                        await send({"type": "http.response.start", "status": head.status, "headers": head.headers})
                    else:
                        await send(_body(piece, more=True))
        except BackPressureError as reason:
            busy = ApiError(429, "too many requests wait", code="queue_full", headers={"retry-after": "5"})
            logger.warning("a request was refused: %s", reason)
            await busy.response(scope["path"])(scope, _nothing, send)
            return
        except _LOST as reason:
            logger.warning("a replica was lost while it answered: %s", reason)
            lost = ApiError(503, "the replica that answered was lost; ask again", code="replica_lost")
            if head is None:
                await lost.response(scope["path"])(scope, _nothing, send)
                return
            if not (event := _last_event(head, scope["path"], lost)):
                raise  # the body is incomplete and not a stream, so the connection must break
            await send(_body(event, more=True))
        await send(_body(b"", more=False))

    async def _pieces(self, call: Call) -> AsyncGenerator[Head | bytes, None]:
        """The response. If a replica is lost before it has sent a part of the body, another one is asked."""
        beginning = beginning_of(call.body)
        for attempt in range(_ATTEMPTS):
            response = self._engine.respond.remote(call, beginning=beginning)
            head: Head | None = None
            begun = False
            try:
                async for piece in response:
                    if isinstance(piece, Head):
                        head = piece
                        continue
                    if head is not None and not begun:
                        yield head
                    begun = True
                    yield piece
                if head is not None and not begun:
                    yield head
                return
            except _LOST:
                if begun or attempt == _ATTEMPTS - 1:
                    raise
            except RayTaskError as error:
                raise error.cause from None
            finally:
                response.cancel()


def _last_event(head: Head, path: str, error: ApiError) -> bytes:
    """The last event of a stream that is cut off, in the form of the path's clients; empty if it is not a stream."""
    kind = next((value for name, value in head.headers if name.lower() == b"content-type"), b"")
    data = json_bytes(error.body(path))
    if kind.startswith(b"application/x-ndjson"):
        return data + b"\n"
    if not kind.startswith(b"text/event-stream"):
        return b""
    name = b"event: error\n" if path.startswith(ANTHROPIC_PATHS) else b""
    return b"\n\n" + name + b"data: " + data + b"\n\n"


async def _read(receive: Receive, most: int) -> bytes | None:
    """The body of a request; None when it is too long."""
    pieces = bytearray()
    while True:
        message = await receive()
        pieces += message.get("body", b"")
        if len(pieces) > most:
            return None
        if not message.get("more_body", False):
            return bytes(pieces)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
