"""GET /v1/models and /v1/models/{model}: the model that is loaded."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.scheduling.service import Service


async def models(http: HttpRequest) -> Response:
    """GET /v1/models."""
    return json_response({"object": "list", "data": [_card(http.app.state.service, http.app.state.started)]})


async def one_model(http: HttpRequest) -> Response:
    """GET /v1/models/{model}."""
    service: Service = http.app.state.service
    check_model(service, http.path_params["model"])
    return json_response(_card(service, http.app.state.started))


def _card(service: Service, started: int) -> dict[str, Any]:
    model = service.model
    return {
        "id": service.settings.model_name,
        "object": "model",
        "created": started,
        "owned_by": "qwen3cpu",
        "max_model_len": model.context,
        "quantization": model.quant,
        "parameters": model.config.parameters(),
        "task": model.task,
        **(
            {"thinking": model.tokenizer.think is not None}
            if model.task == "generation"
            else {"dimensions": model.config.hidden_size}
            if model.task == "embedding"
            else {}
        ),
    }
