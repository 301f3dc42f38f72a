"""GET /health: whether the server takes requests."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.scheduling.service import Service


async def health(http: HttpRequest) -> Response:
    """200 while requests are taken, 503 when not."""
    service: Service = http.app.state.service
    scheduler = service.scheduler
    if scheduler.alive and not scheduler.stopping:
        return json_response({"status": "ok", "task": service.model.task})
    return json_response({"status": "shutting down" if scheduler.alive else "stopped"}, 503)
