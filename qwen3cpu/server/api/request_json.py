"""Reads the body of a request, and the JSON object in it, within limits."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NoReturn

from starlette.datastructures import Headers
from starlette.requests import Request

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of

MOST_FIELDS = 1000
"""The largest number of fields of a body."""
FORM = "application/x-www-form-urlencoded"
BROWSER_HEADERS = ("origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "cookie")
DISCARD = 64 << 20
"""Bytes of a body above the limit that are read and discarded, so that the client can read the response."""
MOST_CONTAINERS = 200_000
"""The largest number of lists and objects in a body. Making two million of them stops all threads for a second."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request.

    A body whose header announces too many bytes is refused before it comes.

    Raises:
        ApiError: 413 for more than `most` bytes, 415 for another content type.
    """
    _check_announced(request.headers, most)
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= most:
            pieces.append(piece)
        elif size > most + DISCARD:
            break
    if size > most:
        raise _too_large(most, str(size) if size <= most + DISCARD else f"more than {most + DISCARD}")
    _check_type(request.headers)
    return b"".join(pieces)


def _check_announced(headers: Headers, most: int) -> None:
    size = headers.get("content-length", "")
    if size.isdecimal() and (len(size) > 18 or int(size) > most):
        # A client that waits for status 100 must not wait, and its next bytes may be the body or another request.
        waits = headers.get("expect", "").lower() == "100-continue"
        raise _too_large(most, size[:40], {"connection": "close"} if waits else None)


def _too_large(most: int, found: str, headers: dict[str, str] | None = None) -> ApiError:
    message = f"the body is too large: expected at most {most} bytes, found {found}"
    return ApiError(413, message, code="body_too_large", headers=headers)


def _check_type(headers: Headers) -> None:
    """Refuse packed bodies, and types that a web page may send to any server without CORS: forms, plain text, none."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        message = f"expected a body without a Content-Encoding, found {coding[:80]!r}"
        raise ApiError(415, message, code="unsupported_content_encoding")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.endswith(("/json", "+json")):
        return
    # curl sends the type of forms by default. Browsers send at least one of these headers.
    browser = headers.get("user-agent", "").startswith("Mozilla/") or any(map(headers.get, BROWSER_HEADERS))
    if kind in ("", FORM) and not browser:
        return
    hint = "-H 'content-type: application/json' for curl"
    raise ApiError(
        415,
        f"expected the content type application/json ({hint}), found {kind[:80] or 'none'!r}",
        code="unsupported_content_type",
    )


def parse_json(data: bytes) -> dict[str, Any]:
    """The object in a body. ApiError when it is not a JSON object, or has too many containers or fields."""
    if data.count(b"{") + data.count(b"[") > MOST_CONTAINERS:
        found = sum(data.count(b"{") + data.count(b"[") for data in _STRING.split(data))
        if found > MOST_CONTAINERS:
            expected = f"expected at most {MOST_CONTAINERS} lists and objects in the body, found {found}"
            raise ApiError(400, expected, code="body_too_complex")
    try:
        value = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if "int_max_str_digits" in str(error):
            most = sys.get_int_max_str_digits()
            message = f"expected numbers of at most {most} digits in the body, found a longer one"
            raise ApiError(400, message, code="body_too_complex") from None
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, f"the body is not JSON: {reason}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"expected a JSON object, found {kind_of(value)}", code="invalid_json")
    if len(value) > MOST_FIELDS:
        raise ApiError(400, f"expected at most {MOST_FIELDS} fields, found {len(value)}", code="body_too_complex")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
