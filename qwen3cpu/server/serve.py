"""Runs the application: sockets, signals, and a shutdown within the grace period."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette

from qwen3cpu.errors import ArgumentError
from qwen3cpu.server.scheduling.scheduler import Scheduler

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Host headers under which a server that listens on this machine only answers."""


class HttpServer(uvicorn.Server):
    """A uvicorn server that stops taking requests first, lets those under way finish, and cuts them off at the end.

    Args:
        app: made by make_app.
        grace: seconds for requests under way.
        access_log: print a line for each request.
    """

    def __init__(self, app: Starlette, *, grace: float, access_log: bool = False) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                log_level="info" if access_log else "warning",
                access_log=access_log,
                server_header=False,
                # The scheduler ends everything within the grace; this is for clients that do not read their answers.
                timeout_graceful_shutdown=int(grace) + 5,
            )
        )
        self._scheduler: Scheduler = app.state.service.scheduler
        self._grace = grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._scheduler.stop(self._grace)
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. ArgumentError when the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ArgumentError(f"--host {host}: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. Without it each small write waits for the client's acknowledgement, which takes 40 ms:
        # asyncio sets it itself only for sockets that were made with IPPROTO_TCP.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ArgumentError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return listener
