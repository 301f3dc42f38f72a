"""POST /v1/embeddings: refused, because no model that the server runs is made for embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.scheduling.service import Service


async def embeddings(http: HttpRequest) -> Response:
    """POST /v1/embeddings: none of the models that this package runs is made for them."""
    service: Service = http.app.state.service
    body: Mapping[str, Any] = await Arrival(http).body(dict)
    check_model(service, body.get("model") if isinstance(body.get("model"), str) else None)
    raise ApiError(
        400,
        f"{service.settings.model_name} is a language model, not an embedding model; expected a request to "
        "/v1/chat/completions, /v1/completions or /v1/responses",
        code="not_an_embedding_model",
        param="model",
    )
