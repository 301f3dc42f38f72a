"""POST /page/render and /page/extract: the work that the chat page asks for."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.bodies import Body
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.page.workers import Workers

MOST_MARKDOWN = 1 << 18
"""The largest number of characters of a text to render."""


class RenderBody(Body):
    """POST /page/render: a text in Markdown."""

    markdown: str
    definitions: str = ""


class ExtractBody(Body):
    """POST /page/extract: a file in base64."""

    file: str


async def render(http: HttpRequest) -> Response:
    """POST /page/render."""
    arrival = Arrival(http)
    body = await arrival.body(RenderBody.model_validate)
    for name, text in (("markdown", body.markdown), ("definitions", body.definitions)):
        if len(text) > MOST_MARKDOWN:
            found = f"expected at most {MOST_MARKDOWN} characters, found {len(text)}"
            raise ApiError(400, f"{name}: {found}", code="invalid_value", param=name)
    workers: Workers = http.app.state.page_workers["render"]
    reply = await arrival.bounded(workers.run(text=body.markdown, definitions=body.definitions))
    return Response(reply, media_type="application/json")


async def extract(http: HttpRequest) -> Response:
    """POST /page/extract."""
    arrival = Arrival(http)
    body = await arrival.body(ExtractBody.model_validate)
    workers: Workers = http.app.state.page_workers["extract"]
    return Response(await arrival.bounded(workers.run(data=body.file)), media_type="application/json")
