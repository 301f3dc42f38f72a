"""POST /detokenize: the text of token ids."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_plainly
from qwen3cpu.server.api.bodies import Body, Items
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.scheduling.service import Service


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: Items[int]


async def detokenize(http: HttpRequest) -> Response:
    """POST /detokenize."""
    arrival = Arrival(http)
    service, body = await ask_plainly(http, arrival, DetokenizeBody)
    data = await arrival.work(partial(_reply, service, body.tokens))
    return Response(data, media_type="application/json")


def _reply(service: Service, tokens: list[int]) -> bytes:
    text = service.model.tokenizer.decode(tokens, skip_special_tokens=False)
    return json_bytes({"prompt": text, "text": text})
