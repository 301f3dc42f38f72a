"""How every endpoint for answers ends: it sends the reply, or a stream."""

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
"""Characters of a header that lists places in a schema."""


class Reply(Protocol):
    """Writes the answers to one request."""

    @property
    def id(self) -> str | None:
        """Of the response; None: it has none."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """As a stream, each item a whole event or line."""

    async def whole(self) -> dict[str, Any]:
        """All of it."""


def unenforced_header(request: Request) -> dict[str, str]:
    """The response header that names what a schema says and the grammar does not enforce; {} if that is nothing."""
    if request.grammar is None or not request.grammar.unenforced:
        return {}
    # A name may hold half a surrogate pair, which UTF-8 has no bytes for.
    names = ", ".join(quote(name, "/:$~", errors="replace") or "/" for name in request.grammar.unenforced)
    return {"x-schema-unenforced": names if len(names) <= LONGEST_HEADER else f"{names[:LONGEST_HEADER]}..."}


async def respond(
    http: HttpRequest, reply: Reply, answers: Answers, *, stream: bool, lines: bool = False, ping: bytes = KEEP_ALIVE
) -> Response:
    """Send a reply. Its answers are closed at the end, also after an error.

    Args:
        http: the request.
        reply: what is sent.
        answers: what it is made of.
        stream: whether it is sent as it comes.
        lines: whether a stream is one of JSON lines; otherwise it is one of server-sent events.
        ping: what a stream of events gets when nothing else comes.
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
