"""The end of every endpoint for answers: sends a whole reply, or a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.generation.options import Request
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.notes import notes_of
from qwen3cpu.server.api.streams import KEEP_ALIVE, EventStream, PieceStream, while_connected
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.scheduling.service import Answers

LONGEST_HEADER = 2048
"""The largest length of a header that lists places in a schema."""


class Reply(Protocol):
    """Writes the answers to one request."""

    @property
    def id(self) -> str | None:
        """The id of the response; None if the API has none."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """The reply as a stream, whose items are whole events or lines."""

    async def whole(self) -> dict[str, Any]:
        """The whole reply."""


def unenforced_header(request: Request) -> dict[str, str]:
    """The response header that names the parts of a schema that the grammar does not enforce; {} if it enforces all."""
    if request.grammar is None or not request.grammar.unenforced:
        return {}
    # A name may hold a lone surrogate, which has no UTF-8 form.
    names = ", ".join(quote(name, "/:$~", errors="replace") or "/" for name in request.grammar.unenforced)
    return {"x-schema-unenforced": names if len(names) <= LONGEST_HEADER else f"{names[:LONGEST_HEADER]}..."}


async def respond(
    http: HttpRequest, reply: Reply, answers: Answers, *, stream: bool, lines: bool = False, ping: bytes = KEEP_ALIVE
) -> Response:
    """Send a reply. Its answers are closed at the end, also after an error.

    Args:
        http: the request.
        reply: writes the reply.
        answers: the answers of the reply.
        stream: whether the reply is streamed.
        lines: whether a stream has JSON lines; otherwise it has server-sent events.
        ping: the event that a stream gets after a time without tokens.
    """
    lender: Lender = http.app.state.lender
    notes = notes_of(http.scope)
    notes.response_id, notes.answers = reply.id, answers.record
    headers = unenforced_header(answers.jobs[0].request)
    if stream and lines:
        return PieceStream(reply.events(), answers.close, "application/x-ndjson", headers=headers)
    if stream:
        events = EventStream(reply.events(), lender.settings.keep_alive, answers.close, ping)
        events.headers.update(headers)
        return events
    try:
        whole = await while_connected(http.receive, reply.whole())
        # With log-probabilities a reply may have many megabytes.
        data = await lender.workshop.run("reply", partial(json_bytes, whole))
        return Response(data, media_type="application/json", headers=headers)
    finally:
        answers.close()
