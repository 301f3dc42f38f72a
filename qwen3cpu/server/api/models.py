"""GET /v1/models and /v1/models/{model}: the models that are offered, loaded or not."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.offers import Offer


async def models(http: HttpRequest) -> Response:
    """GET /v1/models."""
    lender: Lender = http.app.state.lender

    def cards() -> list[dict[str, Any]]:
        readable = lender.catalog.readable()
        adapted = lender.catalog.short_names().items()
        return [
            *(_card(http, offer) for offer in readable),
            *(_adapter_card(http, name, offer) for name, (offer, _) in adapted if offer in readable),
        ]

    return json_response({"object": "list", "data": await Arrival(http).work(cards)})


async def one_model(http: HttpRequest) -> Response:
    """GET /v1/models/{model}."""
    lender: Lender = http.app.state.lender
    arrival = Arrival(http)
    asked = http.path_params["model"]
    offer, adapter = await arrival.work(partial(lender.catalog.find_adapted, asked))
    await arrival.work(offer.describe)
    return json_response(_card(http, offer) if adapter is None else _adapter_card(http, asked, offer))


def _adapter_card(http: HttpRequest, name: str, offer: Offer) -> dict[str, Any]:
    """The card of a model with an adapter."""
    return {**_card(http, offer), "id": name, "parent": offer.name}


def _card(http: HttpRequest, offer: Offer) -> dict[str, Any]:
    """The card of a model that has been described."""
    lender: Lender = http.app.state.lender
    about = offer.describe()
    return {
        "id": offer.name,
        "object": "model",
        "created": http.app.state.started,
        "owned_by": "qwen3cpu",
        "max_model_len": about.context,
        "quantization": about.quant,
        "parameters": about.config.parameters(),
        "task": about.task,
        **(
            {"thinking": about.thinks}
            if about.task == "generation"
            else {"dimensions": about.config.hidden_size}
            if about.task == "embedding"
            else {}
        ),
        "loaded": lender.is_loaded(offer),
    }
