"""GET /health: whether the server takes requests. It does while a model is being loaded."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.models.lender import Lender


async def health(http: HttpRequest) -> Response:
    """GET /health: status 200 while requests are taken, else 503."""
    lender: Lender = http.app.state.lender
    if lender.failed:
        return json_response({"status": "stopped"}, 503)
    if lender.stopping:
        return json_response({"status": "shutting down"}, 503)
    single = lender.single
    return json_response({"status": "ok", **({"task": single.offer.describe().task} if single is not None else {})})
