"""POST /detokenize: the text of token ids."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_plainly
from qwen3cpu.server.api.bodies import Body, Items
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.text.token_ids import check_ids


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: Items[int]


async def detokenize(http: HttpRequest) -> Response:
    """POST /detokenize."""
    arrival = Arrival(http)
    service, body = await ask_plainly(http, arrival, DetokenizeBody)
    with client_names("tokens"):
        data = await arrival.work(partial(_reply, service, body.tokens))
    return Response(data, media_type="application/json")


def _reply(service: Service, tokens: list[int]) -> bytes:
    tokenizer = service.model.tokenizer
    # A model may have more ids than its tokenizer. They stand for no text, and prompts may have them.
    known = [id_ for id_ in check_ids(tokens, service.model.engine.vocab_size, "tokens") if id_ < tokenizer.size]
    text = tokenizer.decode(known, skip_special_tokens=False)
    return json_bytes({"prompt": text, "text": text})
