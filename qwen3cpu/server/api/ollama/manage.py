"""POST /api/pull and DELETE /api/delete: fetch models from the Hugging Face hub, and delete them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.ignored import note_ignored
from qwen3cpu.server.api.json_output import json_bytes, json_response
from qwen3cpu.server.api.ollama.bodies import OllamaDelete, OllamaPull
from qwen3cpu.server.api.streams import PieceStream, while_connected
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.long_work import in_thread
from qwen3cpu.server.models.pulls import Pull, Pulls, hub_id, take_away


async def pull(http: HttpRequest) -> Response:
    """POST /api/pull."""
    _check_allowed(http)
    body = await Arrival(http).body(lambda given: OllamaPull.read(given, 0))
    note_ignored(http, body)
    pulls: Pulls = http.app.state.pulls
    under_way = pulls.pull(hub_id(_name(body.model)))
    if body.stream is not False:
        return PieceStream(_lines(under_way), lambda: None, "application/x-ndjson")
    last = await while_connected(http.receive, _last(under_way))
    if "error" in last:
        raise ApiError(404 if under_way.refused else 500, last["error"])
    return json_response(last)


async def delete(http: HttpRequest) -> Response:
    """DELETE /api/delete."""
    _check_allowed(http)
    lender: Lender = http.app.state.lender
    arrival = Arrival(http)
    body = await arrival.body(lambda given: OllamaDelete.read(given, 0))
    note_ignored(http, body)
    offer = await arrival.work(partial(lender.catalog.find, _name(body.model)))
    if offer.path is None:
        raise ApiError(403, f"{offer.name} is not in the folder of models, and stays", code="not_allowed")
    lender.check_unused(offer)
    remove = await arrival.work(partial(take_away, offer.path))
    await lender.give_up(offer)
    await in_thread(remove, "qwen3cpu-delete")
    return Response(status_code=200)


def _check_allowed(http: HttpRequest) -> None:
    if http.app.state.pulls is None:
        path = http.scope["path"]
        raise ApiError(
            403, f"{path} is off: it needs a server that was started with --manage-models", code="not_allowed"
        )


def _name(model: str | None) -> str:
    if not model:
        raise ApiError(400, "model: field required", code="missing_required_parameter", param="model")
    return model


async def _lines(under_way: Pull) -> AsyncGenerator[bytes, None]:
    async with aclosing(under_way.follow()) as lines:
        async for line in lines:
            yield json_bytes(line) + b"\n"


async def _last(under_way: Pull) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async with aclosing(under_way.follow()) as lines:
        async for line in lines:
            last = line
    return last
