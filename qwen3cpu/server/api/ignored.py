"""Reports ignored fields: in a header of the response, and once for each name in the log."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

from starlette.requests import Request as HttpRequest

from qwen3cpu.server.api.bodies import MOST_NAMED, ForeignBody

logger = logging.getLogger(__name__)

HEADERS = "qwen3cpu.headers"
"""Key of an ASGI scope, for headers that every response to the request gets."""
_KEPT = "".join(map(chr, range(ord("!"), ord("~") + 1))).translate({ord(","): None, ord("%"): None})
LONGEST_NAME = 300
"""The largest length of an escaped name, so that clients can read the header."""
MOST_LOGGED = 1000
"""The largest number of names in the log, so that clients cannot fill it."""


def note_ignored(http: HttpRequest, body: ForeignBody) -> None:
    """Put the ignored fields of a request into its headers and into the log."""
    if not body.ignored:
        return
    headers = {"x-qwen3cpu-ignored": ", ".join(map(_printable, body.ignored[:MOST_NAMED]))}
    if body.hints:
        hints = [f"{_printable(name)}: did you mean {near}?" for name, near in body.hints.items()]
        headers["x-qwen3cpu-hint"] = ", ".join(hints)
    http.scope[HEADERS] = [(name.encode(), value.encode()) for name, value in headers.items()]
    logged: set[Any] = http.app.state.logged
    for name in body.ignored[:MOST_NAMED]:
        if name not in logged and len(logged) < MOST_LOGGED:
            logged.add(name)
            hint = f"; did you mean {body.hints[name]}?" if name in body.hints else ""
            logger.warning("%s: ignored the field %s%s", http.url.path, _printable(name), hint)


def _printable(name: str) -> str:
    """A name for a log and a header, which has ASCII characters only. The other ones are escaped, as in an address."""
    escaped = quote(name[:100], _KEPT, errors="replace")
    if len(escaped) > LONGEST_NAME:
        escaped = quote(name[: LONGEST_NAME // 12], _KEPT, errors="replace")  # a character takes at most 12
    return escaped or "?"
