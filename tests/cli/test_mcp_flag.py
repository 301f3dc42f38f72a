"""The values of --mcp: a command, an address, a file."""

import argparse
import sys
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="MCP servers need the extra [mcp]")

from qwen3cpu.cli.mcp import make_servers
from qwen3cpu.errors import ArgumentError

SERVER = Path(__file__).parents[1] / "support" / "mcp_tools.py"


def servers(mcp, *, allow=False):
    return make_servers(argparse.Namespace(mcp=mcp, mcp_allow=allow, mcp_timeout=600.0))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "uvx mcp-time --zone 'Far away'",
            ("uvx", "stdio", "uvx", ("mcp-time", "--zone", "Far away"), ""),
        ),
        ("/opt/tools/notes.py", ("notes", "stdio", "/opt/tools/notes.py", (), "")),
        ("https://tools.example/mcp", ("tools.example", "http", "", (), "https://tools.example/mcp")),
    ],
)
def test_one_server(given, expected):
    (config,) = servers(given)._configs
    assert (config.name, config.kind, config.command, config.args, config.url) == expected


def test_a_file(tmp_path):
    file = tmp_path / "tools"
    file.write_text('{"mcpServers": {"a": {"command": "x"}, "b": {"url": "http://b"}}}')
    assert [config.name for config in servers(str(file))._configs] == ["a", "b"]


def test_a_command_runs():
    with servers(f"'{sys.executable}' '{SERVER}' more") as running:
        assert "more" in [tool.name for tool in running.tools]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "--mcp: expected a command, an address or a JSON file, found nothing"),
        ("uvx 'open", '--mcp: expected a command, an address or a JSON file, found "uvx \'open"'),
        ("absent.json", "absent.json"),
    ],
)
def test_refused(given, says):
    with pytest.raises(ArgumentError) as caught:
        servers(given)
    assert says in str(caught.value)


def test_none():
    assert servers(None) is None
    with pytest.raises(ArgumentError, match="--mcp-allow: needs --mcp"):
        servers(None, allow=True)
