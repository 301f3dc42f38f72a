"""Tools of MCP servers, through the official package `mcp` (the extra [mcp]).

A thread with its own event loop holds the connections. Each connection has a task there, which opens and closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, cast

from typing_extensions import Self

from qwen3cpu.errors import ArgumentError, McpServerError
from qwen3cpu.generation.mcp_config import START_TIMEOUT, TIMEOUT, ServerConfig, read_config
from qwen3cpu.text.tool_calls import ToolCall

if TYPE_CHECKING:
    from mcp import Client

MOST_PAGES = 100
"""Most pages of a list of tools that are read."""
NOT_ALLOWED = "Error: the user has not allowed this call"


@dataclass(frozen=True)
class McpTool:
    """A tool of a server.

    name: for the model. server, own_name: its server, and its name there. description: shown to the model.
    """

    name: str
    server: str
    own_name: str
    description: Mapping[str, Any]


class McpServers:
    """The tools of MCP servers, for `Model.run(tools=[...])`.

    The servers run inside a `with` statement, or else while a run needs them. Their processes end with it.

    Args:
        config: a configuration in the form of Claude Desktop or VS Code: the path of a JSON file, or its content.
        timeout: seconds in which a server has to answer a call.
        start_timeout: seconds in which a server has to be ready.
        approve: called with the tool and its arguments before each call. If it returns False, the call is not made and
            the model is told. None: all calls are made.

    Raises:
        ArgumentError: the configuration is wrong, or the package `mcp` is missing.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any],
        *,
        timeout: float = TIMEOUT,
        start_timeout: float = START_TIMEOUT,
        approve: Callable[[McpTool, Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self._timeout = _seconds("timeout", timeout)
        self._start_timeout = _seconds("start_timeout", start_timeout)
        self._configs = read_config(config)
        self._approve = approve
        self._connections: _Connections | None = None
        self.tools: tuple[McpTool, ...] = ()
        """The tools of all servers, while they run."""
        try:
            import mcp  # noqa: F401
        except ImportError as missing:
            raise ArgumentError(f"MCP servers need the package mcp ({missing}): pip install 'qwen3cpu[mcp]'") from None

    def __enter__(self) -> Self:
        """Start the servers. If one is not ready in time, all are stopped and McpServerError names it."""
        if self._connections is not None:
            raise ArgumentError("these MCP servers are already running")
        connections = _Connections(self._configs, self._timeout, self._start_timeout)
        finalizer = weakref.finalize(self, connections.close)  # at the end of the process, too
        try:
            listed = connections.open()
            self.tools = tuple(self._tools(listed))
        except BaseException:
            finalizer()
            raise
        self._connections = connections
        return self

    def __exit__(self, *_: object) -> None:
        connections, self._connections = self._connections, None
        self.tools = ()
        if connections is not None:
            connections.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the servers inside a `with` statement; servers that already run keep running after it."""
        if self._connections is not None:
            yield
            return
        with self:
            yield

    def _tools(self, listed: Sequence[tuple[str, Any]]) -> Iterator[McpTool]:
        own_names = [tool.name for _, tool in listed]
        for server, tool in listed:
            name = tool.name if own_names.count(tool.name) == 1 else f"{server}_{tool.name}"
            parameters = dict(tool.input_schema or {"type": "object", "properties": {}})
            function = {"name": name, "description": tool.description or "", "parameters": parameters}
            yield McpTool(name, server, tool.name, {"type": "function", "function": function})

    def call(self, tool: McpTool, call: ToolCall) -> str:
        """Make a call if it is approved; return its result as text. McpServerError if the server does not answer."""
        if self._approve is not None and not self._approve(tool, call.arguments):
            return NOT_ALLOWED
        return result_text(self._running(tool).call(tool.server, tool.own_name, call.arguments))

    async def acall(self, tool: McpTool, arguments: Mapping[str, Any]) -> str:
        """`call` for asyncio, without asking for approval. Cancelling it cancels the call at the server."""
        return result_text(await self._running(tool).acall(tool.server, tool.own_name, arguments))

    def _running(self, tool: McpTool) -> _Connections:
        if self._connections is None:
            raise McpServerError(f"MCP server {tool.server!r} is not running")
        return self._connections


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ArgumentError(f"{name}: expected a number of seconds above 0, found {value!r}")
    return float(value)


def result_text(result: Any) -> str:
    """The text of a CallToolResult for the model."""
    texts = [_block_text(block) for block in result.content]
    if not texts and result.structured_content is not None:
        import json

        texts.append(json.dumps(result.structured_content, ensure_ascii=False))
    text = "\n".join(texts)
    return f"Error: {text or 'the tool failed'}" if result.is_error else text


def _block_text(block: Any) -> str:
    if block.type == "text":
        return str(block.text)
    if block.type in ("image", "audio"):
        size = len(block.data) * 3 // 4 - block.data.count("=")  # of base64
        return f"[{block.type} of type {block.mime_type}, {size} bytes, which cannot be shown to the model]"
    if block.type == "resource_link":
        return f"[resource {block.uri}]"
    resource = getattr(block, "resource", None)
    text = getattr(resource, "text", None)
    return str(text) if text is not None else f"[resource {getattr(resource, 'uri', '')}, which is not text]"


class _Server:
    """One server on its thread."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.client: Client | None = None
        self.errors: TextIO | None = None
        self.task: asyncio.Task[None] | None = None

    async def run(self, ready: asyncio.Future[list[Any]], stop: asyncio.Event) -> None:
        """Open the connection, set `ready` to the tools, and close the connection when `stop` is set."""
        from mcp import Client

        with contextlib.ExitStack() as files:
            if self.config.kind == "stdio":
                made = files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
                self.errors = cast(TextIO, made)  # on Windows a wrapper with the same methods
            try:
                async with contextlib.AsyncExitStack() as stack:
                    transport = await _transport(self.config, self.errors, stack)
                    self.client = await stack.enter_async_context(Client(transport))
                    tools = await _listed(self.client)
                    if not ready.done():
                        ready.set_result(tools)
                    await stop.wait()
            except Exception as error:
                if not ready.done():
                    ready.set_exception(McpServerError(f"{self.problem(error)}{self.last_words()}"))
            finally:
                self.client = None

    def problem(self, error: BaseException) -> str:
        """The message for an error of this server."""
        where = f"MCP server {self.config.name!r}"
        while getattr(error, "exceptions", ()):  # a group of one, as task groups raise them
            error = error.exceptions[0]  # type: ignore[attr-defined]
        if isinstance(error, OSError) and self.config.kind == "stdio":
            return f"{where}: the command {self.config.command!r} cannot be started: {error.strerror or error}"
        text = " ".join(str(error).split()) or type(error).__name__
        return f"{where}: {text}"

    def last_words(self) -> str:
        """The last line that the process has written to stderr, for a message."""
        if self.errors is None or self.errors.closed:
            return ""
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read()[-4000:].splitlines() if line.strip()]
        return f"; it said: {lines[-1][:300]}" if lines else ""


async def _transport(config: ServerConfig, errors: TextIO | None, stack: contextlib.AsyncExitStack) -> Any:
    if config.kind == "stdio":
        from mcp import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(
            command=config.command,
            args=list(config.args),
            env=None if config.env is None else dict(config.env),
            cwd=config.cwd,
        )
        assert errors is not None
        return stdio_client(parameters, errlog=errors)
    if config.kind == "sse":
        from mcp.client.sse import sse_client

        return sse_client(config.url, headers=None if config.headers is None else dict(config.headers))
    from mcp.client.streamable_http import streamable_http_client

    if not config.headers:
        return streamable_http_client(config.url)
    import httpx2  # which mcp is built on

    client = httpx2.AsyncClient(headers=dict(config.headers), timeout=httpx2.Timeout(30.0, read=300.0))
    return streamable_http_client(config.url, http_client=await stack.enter_async_context(client))


async def _listed(client: Client) -> list[Any]:
    """All tools of a server, page by page."""
    tools: list[Any] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


class _Connections:
    """All servers, and the thread that holds their connections."""

    def __init__(self, configs: Sequence[ServerConfig], timeout: float, start_timeout: float) -> None:
        self._servers = {config.name: _Server(config) for config in configs}
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._opened: Future[list[tuple[str, Any]]] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="mcp servers", daemon=True)

    def open(self) -> list[tuple[str, Any]]:
        """Start all servers; return (server, tool) for each tool. McpServerError if one is not ready in time."""
        self._thread.start()
        return self._opened.result()

    def call(self, server: str, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Return the result of a call. McpServerError if it does not come in time."""
        future = self._begin(server, tool, arguments)
        try:
            return future.result(self._timeout)
        except (TimeoutError, FutureTimeoutError):
            future.cancel()
            raise self._late(server, tool) from None
        except BaseException:
            future.cancel()
            raise

    async def acall(self, server: str, tool: str, arguments: Mapping[str, Any]) -> Any:
        """`call` for another event loop."""
        future = asyncio.wrap_future(self._begin(server, tool, arguments))
        try:
            return await asyncio.wait_for(future, self._timeout)
        except asyncio.TimeoutError:
            raise self._late(server, tool) from None

    def _begin(self, server: str, tool: str, arguments: Mapping[str, Any]) -> Future[Any]:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._call(self._servers[server], tool, dict(arguments)), self._loop)

    def _late(self, server: str, tool: str) -> McpServerError:
        return McpServerError(f"MCP server {server!r}: {tool} has not answered within {self._timeout:g} seconds")

    def close(self) -> None:
        """End all servers and wait until their processes are gone."""
        if self._loop is None or not self._thread.is_alive():
            return
        with contextlib.suppress(RuntimeError):  # the loop has just ended
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join()

    def _end(self) -> None:
        if self._stop is not None:
            self._stop.set()
        if self._main is not None and not self._opened.done():
            self._main.cancel()

    async def _call(self, server: _Server, tool: str, arguments: dict[str, Any]) -> Any:
        if server.client is None:
            raise McpServerError(f"MCP server {server.config.name!r} has ended{server.last_words()}")
        try:
            return await server.client.call_tool(tool, arguments)
        except Exception as error:
            raise McpServerError(f"{server.problem(error)}{server.last_words()}") from error

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if not self._opened.done():
                self._opened.set_exception(error if isinstance(error, Exception) else McpServerError("stopped"))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._stop = asyncio.Event()
        try:
            listed = []
            for name, server in self._servers.items():
                ready: asyncio.Future[list[Any]] = self._loop.create_future()
                server.task = asyncio.create_task(server.run(ready, self._stop))
                done, _ = await asyncio.wait([ready], timeout=self._start_timeout)
                if not done:
                    raise McpServerError(
                        f"MCP server {name!r} is not ready within {self._start_timeout:g} seconds{server.last_words()}"
                    )
                listed += [(name, tool) for tool in ready.result()]
            self._opened.set_result(listed)
            await self._stop.wait()
        finally:
            self._stop.set()
            tasks = [server.task for server in self._servers.values() if server.task is not None]
            for server in self._servers.values():
                if server.task is not None and server.client is None:
                    server.task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
