"""GET /tokenizer_info: facts that evaluation harnesses need before they use /tokenize. `?model=` names a model."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.models.lender import Lender


async def tokenizer_info(http: HttpRequest) -> Response:
    """GET /tokenizer_info."""
    lender: Lender = http.app.state.lender
    arrival = Arrival(http)
    offer, _ = await arrival.work(partial(lender.catalog.find_adapted, http.query_params.get("model")))
    service = await arrival.service(offer)
    named = service.model.tokenizer.named_tokens
    eos = min(service.model.eos_token_ids, default=None)
    return json_response(
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": named.get("bos_token"),
            "eos_token": named.get("eos_token") or service.model.tokenizer.decode([eos], skip_special_tokens=False)
            if eos is not None
            else None,
            "pad_token": named.get("pad_token"),
            "model_max_length": service.model.context,
        }
    )
