"""GET / and GET /assets/{name}: the files of the page."""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

FOLDER = Path(__file__).with_name("assets")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Suffix -> media type."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The page runs only its own scripts, and cannot read a text as HTML, because a model's text must not run."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
}


class Asset(NamedTuple):
    """A file. tag: its ETag, a hash of its contents."""

    data: bytes
    media_type: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """All files of the page, by name."""
    found = {}
    for path in FOLDER.iterdir():
        if path.suffix in TYPES:
            data = path.read_bytes()
            found[path.name] = Asset(data, TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')
    return found


async def page(http: HttpRequest) -> Response:
    """GET /."""
    return await _response(http, "index.html")


async def asset(http: HttpRequest) -> Response:
    """GET /assets/{name}."""
    return await _response(http, http.path_params["name"])


async def _response(http: HttpRequest, name: str) -> Response:
    found = (await asyncio.to_thread(assets)).get(name)
    if found is None:
        raise HTTPException(404)
    headers = {**HEADERS, "etag": found.tag}
    if http.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.media_type)
