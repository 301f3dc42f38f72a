"""POST /v1/embeddings: vectors of texts from an embedding model."""

from __future__ import annotations

import base64
from typing import Any

from numpy.typing import NDArray
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.search_bodies import EmbeddingsBody
from qwen3cpu.server.api.vectors_reply import send_vectors
from qwen3cpu.server.scheduling.service import Service


async def embeddings(http: HttpRequest) -> Response:
    """Serve a request."""
    return await send_vectors(http, EmbeddingsBody, OpenAIVectors)


class OpenAIVectors:
    """OpenAI's form of a reply."""

    head = b'{"object":"list","data":['

    def __init__(self, service: Service, body: EmbeddingsBody, arrival: Arrival | None = None) -> None:
        self._model_name = service.settings.model_name
        self._base64 = body.encoding_format == "base64"

    def item(self, place: int, vector: NDArray[Any]) -> object:
        """The entry of a vector."""
        written = base64.b64encode(vector.astype("<f4").tobytes()).decode() if self._base64 else vector.tolist()
        return {"object": "embedding", "index": place, "embedding": written}

    def tail(self, tokens: int) -> bytes:
        """The bytes after the entries."""
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return b"]," + json_bytes({"model": self._model_name, "usage": usage})[1:]
