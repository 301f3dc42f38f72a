"""Runs the application: sockets, signals, and a shutdown within the grace period."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from qwen3cpu.errors import ArgumentError
from qwen3cpu.server.connections import GuardedConnection, guarded
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.system.allocator import return_free_pages
from qwen3cpu.system.process_limits import most_files

SPARE_FILES = 64
"""File descriptors that are reserved for anything but connections."""
IDLE_SECONDS = 75
"""Seconds that a connection may wait between two requests. Clients close theirs sooner (httpx after 5 s, browsers after
60), which matters because a request into a connection that is being closed fails."""
TICKS = 10
"""Ticks of uvicorn, 0.1 seconds each, between two sweeps over the connections."""
TRIM_TICKS = 100
"""Ticks after which free memory is returned to the system."""
MOST_STEP = 2.0
"""Seconds that one sweep counts at most. If this process was not scheduled for longer, its clients are not late."""


class HttpServer(uvicorn.Server):
    """A uvicorn server that stops in two phases: running requests may finish, and are cut off after the grace period.

    Args:
        app: made by make_app.
        grace: seconds that running requests have to finish.
        access_log: print a line for each request.
        tell: prints a line for the person who stops the server.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        grace: float,
        access_log: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        lender: Lender = app.state.lender
        settings = lender.settings
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                log_level="info" if access_log else "warning",
                access_log=access_log,
                server_header=False,
                http=guarded(min(settings.connections, most_files() - SPARE_FILES), settings.head_seconds),
                timeout_keep_alive=IDLE_SECONDS,
                # The scheduler ends all jobs within the grace period. This limit is for clients that do not read
                # answers.
                timeout_graceful_shutdown=int(grace) + 5,
            )
        )
        self._lender = lender
        self._grace = grace
        self._tell = tell
        self._stops = 0
        self._swept = monotonic()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal; cut off running requests at the second."""
        self._stops += 1
        if self._stops == 1:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Every `TICKS`, close slow connections and unload unused models."""
        if counter % TICKS == 0:
            self._sweep()
            self._lender.tick()
        if counter % TRIM_TICKS == 0:
            asyncio.get_running_loop().run_in_executor(None, return_free_pages)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, and end the running ones within the grace period."""
        self._lender.stop(self._grace)
        watch = asyncio.create_task(self._watch_the_end())
        try:
            await super().shutdown(sockets)
        finally:
            watch.cancel()

    async def _watch_the_end(self) -> None:
        """Report which answers are waited for, and cut them off at the second signal."""
        left = self._lender.left
        if left and self._stops:
            what = "1 answer" if left == 1 else f"{left} answers"
            self._tell(f"waiting for {what}, up to {self._grace:g} seconds; press Ctrl-C again to stop now")
        while self._stops < 2:
            await asyncio.sleep(0.1)
            self._sweep()
        left = self._lender.left
        self._lender.stop()
        self._tell(f"stopped; answers cut off: {left}")
        await asyncio.sleep(1.0)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _sweep(self) -> None:
        last, self._swept = self._swept, monotonic()
        for connection in list(self.server_state.connections):
            if isinstance(connection, GuardedConnection):
                connection.sweep(min(self._swept - last, MOST_STEP))


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. ArgumentError when the address is invalid or in use."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ArgumentError(f"--host {host}: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit TCP_NODELAY. Without it, each small write waits 40 ms for the client's acknowledgement.
        # asyncio sets it only for sockets that were made with IPPROTO_TCP.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ArgumentError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return listener
