"""How every endpoint for answers begins and ends: it reads and checks the body, then sends the reply or a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol, TypeVar

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.bodies import Generation
from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.request_json import read_json
from qwen3cpu.server.api.streams import EventStream, while_connected
from qwen3cpu.server.scheduling.service import Answers, Service

B = TypeVar("B", bound=Generation)


class Reply(Protocol):
    """Writes the answers to one request."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """As a stream, each item a whole event."""

    async def whole(self) -> dict[str, Any]:
        """All of it."""


async def read_body(http: HttpRequest, kind: type[B]) -> B:
    """The body of a request for the model that is here.

    Raises:
        ApiError, ValidationError: it is too large, no JSON, malformed, or for another model.
    """
    service: Service = http.app.state.service
    body = kind.model_validate(await read_json(http, service.settings.max_body))
    check_model(service, body.model)
    return body


async def respond(http: HttpRequest, reply: Reply, answers: Answers, *, stream: bool) -> Response:
    """Send a reply. Its answers are closed at the end, also after an error."""
    service: Service = http.app.state.service
    if stream:
        return EventStream(reply.events(), service.settings.keep_alive, answers.close)
    try:
        return json_response(await while_connected(http.receive, reply.whole()))
    finally:
        answers.close()
