"""POST /detokenize: the text of token ids."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.bodies import Body, Items
from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.scheduling.service import Service


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: Items[int]


async def detokenize(http: HttpRequest) -> Response:
    """POST /detokenize."""
    service: Service = http.app.state.service
    arrival = Arrival(http)
    body = await arrival.body(DetokenizeBody.model_validate)
    check_model(service, body.model)
    data = await arrival.work(partial(_reply, service, body.tokens))
    return Response(data, media_type="application/json")


def _reply(service: Service, tokens: list[int]) -> bytes:
    text = service.model.tokenizer.decode(tokens, skip_special_tokens=False)
    return json_bytes({"prompt": text, "text": text})
