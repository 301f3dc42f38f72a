"""Requests without a prompt, with which Ollama's clients load or unload a model."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request as HttpRequest

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import lent
from qwen3cpu.server.api.ollama.bodies import OllamaBody
from qwen3cpu.server.api.ollama.durations import now
from qwen3cpu.server.api.ollama.reply import Piece
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.offers import Offer


async def loaded(http: HttpRequest, arrival: Arrival, offer: Offer, body: OllamaBody, piece: Piece) -> dict[str, Any]:
    """Load a model, or unload it with `keep_alive` 0. Returns the reply.

    Args:
        http: the request.
        arrival: the request's arrival.
        offer: the model.
        body: the body of the request.
        piece: makes the endpoint's fields for an empty answer.

    Raises: see `Arrival.service`.
    """
    lender: Lender = http.app.state.lender
    reason = "load"
    if body.keep_seconds == 0 and not lender.keeps:
        lender.keep(offer, 0)
        reason = "unload"
    else:
        await lent(http, arrival, offer, body)
    name = body.model or offer.name
    return {"model": name, "created_at": now(), **piece("", "", []), "done": True, "done_reason": reason}
