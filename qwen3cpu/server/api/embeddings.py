"""POST /v1/embeddings: vectors of texts, by an embedding model."""

from __future__ import annotations

import base64
from array import array
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.retrieval.vectors import VectorForm
from qwen3cpu.retrieval.window import State
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.reply import read_model_body
from qwen3cpu.server.api.search_bodies import EmbeddingsBody
from qwen3cpu.server.api.streams import PieceStream, while_connected
from qwen3cpu.server.scheduling.jobs import TimeLimitError
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.text_states import TextStates

PIECE = 64
"""Vectors that are written at once."""


async def embeddings(http: HttpRequest) -> Response:
    """Serve a request."""
    service: Service = http.app.state.service
    arrival = Arrival(http)
    await arrival.read()
    with service.preparation():
        body = await read_model_body(http, arrival, EmbeddingsBody, "embedding")
        with client_names("input", places=body.places):
            form, texts = await arrival.work(partial(_encoded, service, body, arrival))
            states = service.start_texts(texts, arrived=arrival.at)
    try:
        found = await while_connected(http.receive, states.ready())
        reply = _Reply(service, body, form, found, sum(map(len, texts)))
        if len(found) > PIECE:
            return PieceStream(reply.pieces(states), states.close, "application/json")
        data = await service.workshop.run("reply", reply.whole)
    except BaseException:
        states.close()
        raise
    states.close()
    return Response(data, media_type="application/json")


def _encoded(service: Service, body: EmbeddingsBody, arrival: Arrival) -> tuple[VectorForm, list[array[int]]]:
    """The form of the vectors, and the ids of the texts."""
    embedder = service.model.embedder
    form = embedder.form(body.dimensions, body.normalize)
    encode = embedder.encoder(body.kind, body.instruction, body.truncate)
    given = body.texts(service.settings.max_texts)
    encoded = []
    for place, text in enumerate(given):
        arrival.watch(place)
        encoded.append(array("i", encode(text, "input" if text is body.input else f"input[{place}]")))
    return form, encoded


class _Reply:
    """Writes the vectors of one request."""

    def __init__(
        self, service: Service, body: EmbeddingsBody, form: VectorForm, states: Sequence[State], tokens: int
    ) -> None:
        self._service = service
        self._base64 = body.encoding_format == "base64"
        self._form = form
        self._states = states
        self._tokens = tokens

    async def pieces(self, states: TextStates) -> AsyncGenerator[bytes, None]:
        """The JSON in pieces. TimeLimitError when a client reads it so slowly that the request's time is over."""
        yield self._head()
        for start in range(0, len(self._states), PIECE):
            if perf_counter() > states.deadline:
                raise TimeLimitError("the reply was not read in time")
            piece = await self._service.workshop.run("reply", partial(self._vectors, start))
            yield piece if not start else b"," + piece
        yield self._tail()

    def whole(self) -> bytes:
        """The JSON of a few vectors."""
        return self._head() + self._vectors(0) + self._tail()

    def _head(self) -> bytes:
        return b'{"object":"list","data":['

    def _vectors(self, start: int) -> bytes:
        """The items of PIECE vectors, without the brackets around them."""
        states = self._states[start : start + PIECE]
        return json_bytes([self._item(start + place, state) for place, state in enumerate(states)])[1:-1]

    def _item(self, place: int, state: State) -> dict[str, Any]:
        vector = self._form.of(state)
        written = base64.b64encode(vector.astype("<f4").tobytes()).decode() if self._base64 else vector.tolist()
        return {"object": "embedding", "index": place, "embedding": written}

    def _tail(self) -> bytes:
        usage = {"prompt_tokens": self._tokens, "total_tokens": self._tokens}
        return b"]," + json_bytes({"model": self._service.settings.model_name, "usage": usage})[1:]
