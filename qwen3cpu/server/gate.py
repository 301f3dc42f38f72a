"""Checks every request before an endpoint gets it (host name, API key), and counts and times it."""

from __future__ import annotations

import hmac
from time import perf_counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3cpu.server.api.arrival import note_arrival
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.ignored import HEADERS
from qwen3cpu.server.hosts import host_name, is_allowed
from qwen3cpu.server.http_stats import HttpStats
from qwen3cpu.server.settings import Settings

OPEN_PATHS = frozenset({"/", "/health"})
"""Paths that need no key: the chat page, which asks for the key, and the health check of load balancers."""
OPEN_FOLDER = "/assets/"
"""The prefix of the paths of the page's files, which need no key either."""


def is_open(path: str) -> bool:
    """Whether a path is served without a key."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


class Gate:
    """ASGI middleware that checks host name and API key.

    Args:
        app: the application behind the gate.
        settings: have the key and the hosts.
        http_stats: counts responses by path and status. All paths that are not in `known` count as one.
        known: the paths of the server.
    """

    def __init__(self, app: ASGIApp, settings: Settings, http_stats: HttpStats, known: frozenset[str]) -> None:
        self._app = app
        self._key = None if settings.api_key is None else settings.api_key.encode()
        self._hosts = frozenset(host_name(host) for host in settings.hosts)
        self._http_stats = http_stats
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived = note_arrival(scope)
        path = scope["path"] if scope["path"] in self._known else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._http_stats.responses[path, message["status"]] += 1
                message["headers"] = [*message.get("headers", ()), *scope.get(HEADERS, ())]
            await send(message)

        refusal = self._refusal(scope)
        try:
            await (self._app if refusal is None else refusal.response(scope["path"]))(scope, receive, counted)
        finally:
            self._http_stats.ended(path, perf_counter() - arrived)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        host = headers.get("host")
        if self._hosts and not is_allowed(host or "", self._hosts):
            names = ", ".join(sorted(self._hosts))
            found = "no Host header" if host is None else repr(host[:80])
            expected = f"the Host header: expected an address of this machine or one of {names}"
            return ApiError(421, f"{expected}, found {found}", code="wrong_host")
        if self._key is None or is_open(scope["path"]):
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer] if scheme.lower() == "bearer" else []
        given += [headers["x-api-key"]] if "x-api-key" in headers else []
        if any(hmac.compare_digest(each.strip().encode("latin-1", "replace"), self._key) for each in given):
            return None
        return ApiError(
            401,
            "expected the API key of this server as `Authorization: Bearer ...` or `x-api-key: ...`",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )
