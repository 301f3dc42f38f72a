"""POST /api/pull and DELETE /api/delete: refused, because the server keeps the model that it was started with."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.errors import ApiError


async def manage(http: HttpRequest) -> Response:
    """Refuse a request."""
    path = http.scope["path"]
    raise ApiError(403, f"{path} is off: it needs a server that was started with --manage-models", code="not_allowed")
