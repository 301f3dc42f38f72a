"""Serves requests for vectors: passes texts to the scheduler, and sends the vectors at once or in pieces."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.retrieval.vectors import VectorForm
from qwen3cpu.retrieval.window import State
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_model
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.notes import notes_of
from qwen3cpu.server.api.search_bodies import EmbeddingsBody
from qwen3cpu.server.api.streams import PieceStream, while_connected
from qwen3cpu.server.scheduling.jobs import TimeLimitError
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.text_states import TextStates

PIECE = 64
"""Vectors in one piece of a reply."""

B = TypeVar("B", bound=EmbeddingsBody)


class ReplyForm(Protocol):
    """The form of vectors in an API."""

    @property
    def head(self) -> bytes:
        """The bytes before the first entry."""
        ...

    def item(self, place: int, vector: NDArray[Any]) -> object:
        """The entry of a vector, ready for JSON."""

    def tail(self, tokens: int) -> bytes:
        """The bytes after the last entry. tokens: the tokens of all texts."""


async def send_vectors(
    http: HttpRequest, kind: type[B], make_form: Callable[[Service, B, Arrival], ReplyForm]
) -> Response:
    """Serve a request for vectors.

    Args:
        http: the request.
        kind: the class of its body.
        make_form: makes the form of the reply.
    """
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        service, body = await ask_model(http, arrival, kind, "embedding")
        reply_form = make_form(service, body, arrival)
        with client_names("input", places=body.places):
            form, texts = await arrival.work(partial(encoded_texts, service, body, arrival.watch))
            if not texts:
                return Response(reply_form.head + reply_form.tail(0), media_type="application/json")
            notes_of(http.scope).input_tokens = sum(map(len, texts))
            states = service.start_texts(texts, arrived=arrival.at)
    try:
        found = await while_connected(http.receive, states.ready())
        reply = VectorsReply(service, reply_form, form, found, sum(map(len, texts)))
        if len(found) > PIECE:
            return PieceStream(reply.pieces(states), states.close, "application/json")
        data = await service.workshop.run("reply", reply.whole)
    except BaseException:
        states.close()
        raise
    states.close()
    return Response(data, media_type="application/json")


def encoded_texts(
    service: Service, body: EmbeddingsBody, watch: Callable[[int], None] = lambda place: None
) -> tuple[VectorForm, list[array[int]]]:
    """The form of the vectors, and the ids of the texts. `watch` gets the place of each before it is encoded."""
    embedder = service.model.embedder
    form = embedder.form(body.dimensions, body.normalize)
    encode = embedder.encoder(body.kind, body.instruction, body.truncate)
    given = body.texts(service.settings.max_texts)
    encoded = []
    for place, text in enumerate(given):
        watch(place)
        encoded.append(array("i", encode(text, "input" if text is body.input else f"input[{place}]")))
    return form, encoded


class VectorsReply:
    """Writes the vectors of one request."""

    def __init__(
        self, service: Service, reply_form: ReplyForm, form: VectorForm, states: Sequence[State], tokens: int
    ) -> None:
        self._service = service
        self._reply_form = reply_form
        self._form = form
        self._states = states
        self._tokens = tokens

    async def pieces(self, states: TextStates) -> AsyncGenerator[bytes, None]:
        """The JSON in pieces. TimeLimitError when the client reads so slowly that the request's time is over."""
        yield self._reply_form.head
        for start in range(0, len(self._states), PIECE):
            if perf_counter() > states.deadline:
                raise TimeLimitError("the reply was not read in time")
            piece = await self._service.workshop.run("reply", partial(self._vectors, start))
            yield piece if not start else b"," + piece
        yield self._reply_form.tail(self._tokens)

    def whole(self) -> bytes:
        """The whole JSON. It takes a while for many vectors."""
        vectors = b",".join(self._vectors(start) for start in range(0, len(self._states), PIECE))
        return self._reply_form.head + vectors + self._reply_form.tail(self._tokens)

    def _vectors(self, start: int) -> bytes:
        """The items of PIECE vectors, without the brackets around them."""
        states = enumerate(self._states[start : start + PIECE], start)
        return json_bytes([self._reply_form.item(place, self._form.of(state)) for place, state in states])[1:-1]
