"""POST /api/embed and /api/embeddings: vectors of texts from an embedding model."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from numpy.typing import NDArray
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.ollama.bodies import OllamaEmbed, OllamaEmbeddings
from qwen3cpu.server.api.ollama.durations import nanoseconds
from qwen3cpu.server.api.vectors_reply import send_vectors
from qwen3cpu.server.scheduling.service import Service


async def embed(http: HttpRequest) -> Response:
    """POST /api/embed."""
    return await send_vectors(http, OllamaEmbed, _Vectors)


async def one_embedding(http: HttpRequest) -> Response:
    """POST /api/embeddings."""
    return await send_vectors(http, OllamaEmbeddings, _Vector)


class _Vectors:
    """The form of /api/embed."""

    def __init__(self, service: Service, body: OllamaEmbed, arrival: Arrival) -> None:
        self._arrived = arrival.at
        self._began = perf_counter()
        self.head = json_bytes({"model": body.model or service.settings.model_name})[:-1] + b',"embeddings":['

    def item(self, place: int, vector: NDArray[Any]) -> object:
        """The vector."""
        return vector.tolist()

    def tail(self, tokens: int) -> bytes:
        """Times and counts."""
        times = {
            "total_duration": nanoseconds(perf_counter() - self._arrived),
            "load_duration": nanoseconds(self._began - self._arrived),
            "prompt_eval_count": tokens,
        }
        return b"]," + json_bytes(times)[1:]


class _Vector:
    """The form of /api/embeddings, which has one vector."""

    head = b'{"embedding":'

    def __init__(self, service: Service, body: OllamaEmbeddings, arrival: Arrival) -> None:
        pass

    def item(self, place: int, vector: NDArray[Any]) -> object:
        """The vector."""
        return vector.tolist()

    def tail(self, tokens: int) -> bytes:
        """The end of the object. Without a text, an empty vector comes before it."""
        return b"}" if tokens else b"[]}"
