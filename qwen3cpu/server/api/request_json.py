"""Reads the body of a request, and the JSON object in it, within limits."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from starlette.requests import Request

DISCARD = 64 << 20
"""Bytes of a body that is too large which are still read, so that its sender gets to see the answer."""
MOST_CONTAINERS = 200_000
"""Lists and objects in a body. Two million of them would stop all threads for a second while they are made."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        ApiError: 413 for more than `most` bytes, 415 for another content type.
    """
    from qwen3cpu.server.api.errors import ApiError

    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= most:
            pieces.append(piece)
        elif size > most + DISCARD:
            break
    if size > most:
        raise ApiError(413, f"the body is too large: expected at most {most} bytes", code="body_too_large")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Any web page may send a form or plain text to a server on this machine, but not this, without being allowed.
        raise ApiError(415, f"expected the content type application/json, found {kind or 'none'!r}")
    return b"".join(pieces)


def parse_json(data: bytes) -> dict[str, Any]:
    """The object in a body. ApiError for what is no JSON object, or has more containers than a reader can bear."""
    from qwen3cpu.server.api.errors import ApiError

    if data.count(b"{") + data.count(b"[") > MOST_CONTAINERS:
        found = sum(data.count(b"{") + data.count(b"[") for data in _STRING.split(data))
        if found > MOST_CONTAINERS:
            expected = f"expected at most {MOST_CONTAINERS} lists and objects in the body, found {found}"
            raise ApiError(400, expected, code="body_too_complex")
    try:
        value = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, f"the body is not JSON: {reason}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"expected a JSON object, found {type(value).__name__}", code="invalid_json")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
