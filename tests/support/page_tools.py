"""A small MCP server, and the text that a model writes to call its tools."""

import json
import sys
from pathlib import Path

import pytest

from qwen3cpu.generation.mcp_servers import McpServers

SERVER = Path(__file__).with_name("mcp_tools.py")


def things():
    """The server, not started."""
    pytest.importorskip("mcp")
    config = {"mcpServers": {"things": {"command": sys.executable, "args": [str(SERVER)]}}}
    return McpServers(config, timeout=600)


def call(name, **arguments):
    """The text that a model writes to call a tool."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
