"""POST /tokenize: token ids of a prompt, or of messages."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.apply_template import TemplateOptions, render
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_plainly
from qwen3cpu.server.api.bodies import Items
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.scheduling.service import Service


class TokenizeBody(TemplateOptions):
    """POST /tokenize: a plain `prompt`, or `messages` with the chat template."""

    prompt: str | None = None
    messages: Items[dict[str, Any]] | None = None
    add_special_tokens: bool = True  # Qwen3 has none to add
    return_token_strs: bool = False


async def tokenize(http: HttpRequest) -> Response:
    """POST /tokenize."""
    arrival = Arrival(http)
    service, body = await ask_plainly(http, arrival, TokenizeBody)
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "prompt: expected either prompt or messages", param="prompt")
    with client_names("messages" if body.prompt is None else "prompt"):
        data = await arrival.work(partial(_reply, service, body, arrival))
    return Response(data, media_type="application/json")


def _reply(service: Service, body: TokenizeBody, arrival: Arrival) -> bytes:
    text = body.prompt or ""
    if body.messages is not None:
        text = render(service, body.messages, body)
    tokenizer = service.model.tokenizer
    ids = tokenizer.encode(text, control_tokens=True, watch=arrival.watch)
    reply: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": service.model.context}
    if body.return_token_strs:
        reply["token_strs"] = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in ids]
    return json_bytes(reply)
