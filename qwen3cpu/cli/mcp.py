"""The flags of MCP servers, and the question before a call."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qwen3cpu.cli.keys import ask
from qwen3cpu.cli.terminal import note
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.mcp_config import TIMEOUT
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.standard_streams import CONTROLS

if TYPE_CHECKING:
    from qwen3cpu.generation.mcp_servers import McpServers, McpTool
    from qwen3cpu.generation.toolbox import Toolbox

REPLIES = {"y": "yes", "yes": "yes", "n": "no", "no": "no", "a": "always", "always": "always"}


def add_mcp_flags(
    parser: argparse.ArgumentParser, asking: str = "a terminal asks before each, on a pipe none is made"
) -> None:
    """Add --mcp, --mcp-allow and --mcp-timeout. asking: what happens before a call by default, for the help."""
    group = parser.add_argument_group("tools of MCP servers")
    group.add_argument(
        "--mcp",
        metavar="SERVER",
        help="an MCP server whose tools the model may call: a command that starts it, its address, or a JSON file "
        "with mcpServers, as Claude Desktop and VS Code use",
    )
    group.add_argument("--mcp-allow", action="store_true", help=f"make all calls without asking (default: {asking})")
    group.add_argument(
        "--mcp-timeout",
        type=float,
        default=TIMEOUT,
        metavar="S",
        help="seconds in which a server has to answer a call (default: %(default)g)",
    )


def make_toolbox(args: argparse.Namespace, *, interactive: bool) -> Toolbox | None:
    """The tools of the servers that the flags name, not running yet; None without any."""
    asking = None if args.mcp_allow else Asking(interactive=interactive)
    servers = make_servers(args, asking)
    if servers is None:
        return None
    from qwen3cpu.generation.toolbox import Toolbox

    return Toolbox([servers])


def make_servers(
    args: argparse.Namespace, approve: Callable[[McpTool, Mapping[str, Any]], bool] | None = None
) -> McpServers | None:
    """The servers that the flags name, not running yet; None without any. ArgumentError for wrong flags."""
    if args.mcp is None:
        if args.mcp_allow:
            raise ArgumentError("--mcp-allow: needs --mcp")
        return None
    if not 0 < args.mcp_timeout < float("inf"):
        raise ArgumentError(f"--mcp-timeout: expected a number of seconds above 0, found {args.mcp_timeout}")
    # Imported here, because asyncio would slow the start of every command.
    from qwen3cpu.generation.mcp_servers import McpServers

    return McpServers(_config(args.mcp), timeout=args.mcp_timeout, approve=approve)


def _config(given: str) -> Path | dict[str, Any]:
    """The configuration that the value of --mcp stands for: a file, or one server named after its host or command."""
    if given.startswith(("http://", "https://")):
        return {"mcpServers": {urlsplit(given).hostname or "server": {"url": given}}}
    path = checked_path("--mcp", given) if given else None
    if path is not None and (given.endswith(".json") or os.path.isfile(path)):
        return path
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise ArgumentError(f"--mcp: expected a command, an address or a JSON file, found {given!r}: {error}") from None
    if not words:
        raise ArgumentError("--mcp: expected a command, an address or a JSON file, found nothing")
    return {"mcpServers": {Path(words[0]).stem: {"command": words[0], "args": words[1:]}}}


class Asking:
    """Asks on the terminal before a call. Without one no call is made.

    Args:
        interactive: whether a person can answer at the terminal.
    """

    def __init__(self, *, interactive: bool) -> None:
        self._interactive = interactive
        self._always: set[str] = set()

    def __call__(self, tool: McpTool, arguments: Mapping[str, Any]) -> bool:
        """Whether a call may be made."""
        if tool.name in self._always:
            return True
        if not self._interactive:
            note(f"qwen3cpu: {tool.name} was not called, because there is nobody to ask; --mcp-allow makes all calls")
            return False
        given = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())
        question = f"call {tool.own_name}({given}) of {tool.server}? [y]es, [n]o, [a]lways this tool: "
        while True:
            try:
                reply = REPLIES.get(ask(question.translate(CONTROLS)).strip().lower())
            except EOFError:
                print()
                return False
            if reply == "always":
                self._always.add(tool.name)
            if reply is not None:
                return reply != "no"
