"""Closes connections that take resources without use: silent or slow ones, too many, and clients that do not read."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_output import json_bytes

HEAD_SECONDS = 10.0
"""Seconds for the head of a request, from the opening of a connection or the first byte of a later request."""
BODY_RATE = 10_000
"""Bytes per second: each 10 KB that have arrived give a body one more second."""
STALLED_SECONDS = 120.0
"""Seconds that a client may stop reading while an answer waits to be sent."""


class GuardedConnection(H11Protocol):
    """A uvicorn connection that counts how long the server has waited for it. `sweep` closes it after a limit."""

    most = 1000
    """The largest number of open connections; `guarded` sets another one."""
    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection when too many are open."""
        super().connection_made(transport)
        self._waited: float | None = 0.0
        self._received = 0
        self._stalled: float | None = None
        if len(self.connections) > self.most:
            transport.write(_response(ApiError(503, "too many connections", code="too_many_connections")))
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Count the received bytes."""
        if self.transport.is_closing():
            return
        if self._waited is None:
            self._waited, self._received = 0.0, 0
        self._received += len(data)
        super().data_received(data)
        state = self.conn.their_state
        # IDLE with nothing left over means the end of a body whose request was answered before it arrived.
        if state not in (h11.IDLE, h11.SEND_BODY) or (state is h11.IDLE and not self.conn.trailing_data[0]):
            self._waited = None  # the request is complete

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self._stalled = 0.0
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._stalled = None
        super().resume_writing()

    def sweep(self, seconds: float) -> None:
        """Close the connection if its client takes too long. seconds: the time since the last sweep."""
        if self.transport.is_closing():
            return
        if self._stalled is not None:
            self._stalled += seconds
            if self._stalled > STALLED_SECONDS:
                self.transport.abort()
        if self._waited is None:
            if self.conn.their_state is not h11.IDLE or not self.conn.trailing_data[0]:
                return
            self._waited, self._received = 0.0, 1  # the next head began to arrive with the last request
        self._waited += seconds
        limit = self.head_seconds
        if self.conn.their_state is h11.SEND_BODY:
            limit += self._received / BODY_RATE
        if self._waited <= limit:
            return
        if self._received and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            has_head = self.conn.their_state is h11.SEND_BODY
            what = "body" if has_head else "head"
            late = ApiError(408, f"the {what} of the request did not arrive within {limit:.1f} seconds", code="timeout")
            self.transport.write(_response(late, self.scope["path"] if has_head else ""))
        self.transport.close()


def guarded(most: int, head_seconds: float) -> type[GuardedConnection]:
    """Make a class of connections with these limits."""
    limits: dict[str, Any] = {"most": most, "head_seconds": head_seconds}
    return type("Connection", (GuardedConnection,), limits)


def _response(error: ApiError, path: str = "") -> bytes:
    """The bytes of a response that is sent without the application. path: of the request; empty if it is unknown."""
    body = json_bytes(error.body(path))
    status = b"%d %s" % (error.status, HTTPStatus(error.status).phrase.encode())
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, len(body)) + body
