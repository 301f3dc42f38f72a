"""GET /page/tools and POST /page/tools/call: the operator's tools, which the page offers to the model and calls."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field
from starlette.datastructures import Headers
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.errors import McpServerError
from qwen3cpu.generation.mcp_servers import McpServers
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.bodies import Body
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_output import json_response

MOST_CALLS = 16
"""The largest number of calls that run at the same time."""
MOST_RESULT = 100_000
"""The largest number of characters of a result; longer results are cut."""
FAILED = "Error: "
"""The prefix of the results of failed calls."""


class CallBody(Body):
    """POST /page/tools/call: a call of one of the operator's tools."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class PageTools:
    """The tools that an operator offers to the page.

    Args:
        servers: the running MCP servers.
        ask: whether the page asks its user before each call.
    """

    def __init__(self, servers: McpServers, *, ask: bool) -> None:
        self._servers = servers
        self._tools = {tool.name: tool for tool in servers.tools}
        self._ask = ask
        self._running = 0

    def close(self) -> None:
        """Stop the servers, and wait until their processes have ended. Later calls fail."""
        self._servers.__exit__()

    def offer(self) -> dict[str, Any]:
        """The descriptions of the tools, and whether to ask, for the page."""
        return {"tools": [dict(tool.description) for tool in self._tools.values()], "ask": self._ask}

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result of a call as text. If it fails, the text is FAILED and the error.

        Raises:
            ApiError: 404 for an unknown tool; 429 if too many calls run.
        """
        if name not in self._tools:
            raise ApiError(404, f"there is no tool {name!r}", code="tool_not_found", param="name")
        if self._running >= MOST_CALLS:
            raise ApiError(429, f"{MOST_CALLS} calls of tools run already", code="queue_full")
        self._running += 1
        try:
            result = await self._servers.acall(self._tools[name], arguments)
        except McpServerError as error:
            result = f"{FAILED}{error}"
        finally:
            self._running -= 1
        return shortened(result)


def shortened(text: str) -> str:
    """Cut a text to MOST_RESULT characters, and add a note at its end. Lone surrogates are replaced."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= MOST_RESULT:
        return text
    return f"{text[:MOST_RESULT]}\n[cut here: {len(text) - MOST_RESULT} more characters]"


def check_origin(headers: Headers) -> None:
    """Refuse requests that a browser sends for another page, even if --cors-origin allows other requests of that page.

    Browsers say in `Sec-Fetch-Site`, which scripts cannot set, whether a page calls its own server. They leave it out
    over plain HTTP to another machine. Then `Origin` must name this server. Other clients send neither.

    Raises:
        ApiError: 403.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    if not own:
        raise ApiError(403, "the tools of this server are for its own chat page", code="foreign_origin")


async def tools(http: HttpRequest) -> Response:
    """GET /page/tools."""
    check_origin(http.headers)
    offered: PageTools | None = http.app.state.page_tools
    return json_response({"tools": [], "ask": True} if offered is None else offered.offer())


async def call(http: HttpRequest) -> Response:
    """POST /page/tools/call."""
    check_origin(http.headers)
    arrival = Arrival(http)
    body = await arrival.body(CallBody.model_validate)
    offered: PageTools | None = http.app.state.page_tools
    if offered is None:
        raise ApiError(404, "this server offers no tools (--mcp)", code="tool_not_found")
    result = await arrival.bounded(offered.call(body.name, body.arguments))
    return json_response({"result": result, "failed": result.startswith(FAILED)})
