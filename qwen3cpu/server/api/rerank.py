"""POST /v1/rerank, /v2/rerank and /rerank: scores of documents for a query, in the forms of Cohere, Jina and TEI."""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.retrieval.ranking import check_top_n, ranking
from qwen3cpu.retrieval.window import State
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_model
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.notes import notes_of
from qwen3cpu.server.api.search_bodies import RerankBody
from qwen3cpu.server.api.streams import while_connected
from qwen3cpu.server.scheduling.service import Service

PIECE = 256
"""Documents whose scores are computed in one call of the workshop."""


async def rerank(http: HttpRequest) -> Response:
    """Serve a request."""
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        service, body = await ask_model(http, arrival, RerankBody, "reranking")
        with client_names(body.field, places={**body.places, "documents": body.field}):
            documents, texts = await arrival.work(partial(_encoded, service, body, arrival))
            notes_of(http.scope).input_tokens = sum(map(len, texts))
            states = service.start_texts(texts, arrived=arrival.at)
    try:
        logits: list[float] = []
        found = await while_connected(http.receive, states.ready())
        for start in range(0, len(found), PIECE):
            piece = found[start : start + PIECE]
            logits += await service.workshop.run("reply", partial(_logits, service, piece))
        reply = partial(_reply, service, body, documents, logits, sum(map(len, texts)))
        data = await service.workshop.run("reply", reply)
    finally:
        states.close()
    return Response(data, media_type="application/json")


def _encoded(service: Service, body: RerankBody, arrival: Arrival) -> tuple[list[str], list[array[int]]]:
    """The documents, and the ids of the prompts about them."""
    check_top_n(body.top_n)
    documents = body.contents(service.settings.max_texts)
    encode = service.model.reranker.encoder(body.query, body.instruction, body.max_tokens_per_doc, body.truncate)
    encoded = []
    for place, document in enumerate(documents):
        arrival.watch(place)
        encoded.append(array("i", encode(document, f"documents[{place}]")))
    return documents, encoded


def _logits(service: Service, states: Sequence[State]) -> list[float]:
    return [service.model.reranker.logit(state) for state in states]


def _reply(service: Service, body: RerankBody, documents: list[str], logits: list[float], tokens: int) -> bytes:
    """A list of scores for TEI's form, an object for those of Cohere and Jina, which have the same results."""
    order = ranking(logits, body.top_n)
    scores = logits if body.raw_scores else order.scores.tolist()
    if body.texts is not None:
        items: list[dict[str, Any]] = [{"index": place, "score": scores[place]} for place in order.order]
        for item in items if body.return_documents else ():
            item["text"] = documents[item["index"]]
        return json_bytes(items)
    results: list[dict[str, Any]] = [{"index": place, "relevance_score": scores[place]} for place in order.order]
    for result in results if body.return_documents else ():
        result["document"] = {"text": documents[result["index"]]}
    return json_bytes(
        {
            "id": f"rerank-{secrets.token_hex(12)}",
            "object": "list",
            "model": service.settings.model_name,
            "results": results,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {"api_version": {"version": "2"}, "tokens": {"input_tokens": tokens}},
        }
    )
