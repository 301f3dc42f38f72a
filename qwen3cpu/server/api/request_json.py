"""Reads the JSON object in the body of a request, within limits."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.requests import Request

DISCARD = 64 << 20
"""Bytes of a body that is too large which are still read, so that its sender gets to see the answer."""


async def read_json(request: Request, most: int) -> dict[str, Any]:
    """The object in the body of a request.

    Raises:
        ApiError: 413 for more than `most` bytes, 415 for another content type, 400 for what is no JSON object.
    """
    from qwen3cpu.server.api.errors import ApiError

    data = await _read_body(request, most)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Any web page may send a form or plain text to a server on this machine, but not this, without being allowed.
        raise ApiError(415, f"expected the content type application/json, found {kind or 'none'!r}")
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


async def _read_body(request: Request, most: int) -> bytes:
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
    return b"".join(pieces)
