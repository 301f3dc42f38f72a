"""Configurations of MCP servers: the forms of Claude Desktop and VS Code, and every possible mistake."""

from __future__ import annotations

import json

import pytest

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.mcp_config import ServerConfig, read_config

RUN = {"command": "npx", "args": ["-y", "server"], "env": {"KEY": "value"}}


def test_what_claude_desktop_and_vs_code_write(tmp_path):
    file = tmp_path / "mcp.json"
    for key in ("mcpServers", "servers"):
        file.write_text(json.dumps({key: {"a": RUN, "b": {"url": "https://example.com/mcp", "headers": {"X": "y"}}}}))
        assert read_config(file) == read_config(str(file)) == read_config(json.loads(file.read_text()))
        assert read_config(file) == [
            ServerConfig("a", "stdio", command="npx", args=("-y", "server"), env={"KEY": "value"}),
            ServerConfig("b", "http", url="https://example.com/mcp", headers={"X": "y"}),
        ]


def test_kinds_and_servers_that_are_switched_off():
    servers = {
        "a": {"type": "stdio", "command": "x", "cwd": "/tmp"},
        "b": {"type": "sse", "url": "http://localhost:1/sse"},
        "c": {"command": "x", "disabled": True},
        "d": {"type": "http", "url": "http://localhost:1/mcp", "disabled": False},
    }
    found = read_config({"mcpServers": servers})
    assert [(each.name, each.kind) for each in found] == [("a", "stdio"), ("b", "sse"), ("d", "http")]
    assert found[0].cwd == "/tmp"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "mcp: expected an object with mcpServers, found an empty object"),
        ({"tools": {}}, "mcp: expected an object with mcpServers, found tools"),
        ({"mcpServers": []}, "mcp: mcpServers: expected an object of servers, found list"),
        ({"mcpServers": {}}, "mcp: mcpServers: expected at least one server, found none"),
        ({"mcpServers": {"a": "npx"}}, "mcp: mcpServers.a: expected an object, found str"),
        ({"mcpServers": {"a": {}}}, "mcp: mcpServers.a: expected a command or a url, found neither"),
        (
            {"mcpServers": {"a": {**RUN, "url": "http://x"}}},
            "mcp: mcpServers.a: expected a command or a url, found both",
        ),
        (
            {"mcpServers": {"a": {**RUN, "type": "sse"}}},
            "mcpServers.a.type: expected stdio with command, found 'sse'",
        ),
        (
            {"mcpServers": {"a": {"url": "http://x", "type": "stdio"}}},
            "a.type: expected http, streamable-http, sse with url, found 'stdio'",
        ),
        ({"mcpServers": {"a": {"url": "http://x", "args": ["y"]}}}, "a.args: cannot be used with url"),
        ({"mcpServers": {"a": {**RUN, "headers": {}}}}, "a.headers: cannot be used with command"),
        ({"mcpServers": {"a": {"url": "x.com"}}}, "a.url: expected an address with http:// or https://, found 'x.com'"),
        ({"mcpServers": {"a": {"command": ""}}}, "a.command: expected a string, found an empty one"),
        ({"mcpServers": {"a": {"command": ["x"]}}}, "a.command: expected a string, found list"),
        ({"mcpServers": {"a": {**RUN, "args": "y"}}}, "a.args: expected a list of strings, found str"),
        ({"mcpServers": {"a": {**RUN, "args": ["y", 5]}}}, r"a.args\[1\]: expected a string, found int"),
        ({"mcpServers": {"a": {**RUN, "env": ["y"]}}}, "a.env: expected an object of strings, found list"),
        ({"mcpServers": {"a": {**RUN, "env": {"K": 5}}}}, "a.env.K: expected a string, found int"),
        ({"mcpServers": {"a": {**RUN, "cwd": 5}}}, "a.cwd: expected a string, found int"),
        (
            {"mcpServers": {"a": {**RUN, "env": {"K": "${input:key}"}}}},
            r"a.env.K: expected a string without variables, which are not replaced, found '\$\{input:key\}'",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(config, message):
    with pytest.raises(ArgumentError, match=message):
        read_config(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "mcp.json: expected JSON"),
        (b"[1]", "mcp.json: expected an object with mcpServers, found list"),
        (b"\xff", "mcp.json: expected UTF-8"),
        (b"[" * 100_000, "mcp.json: expected JSON"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, message):
    file = tmp_path / "mcp.json"
    file.write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        read_config(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ArgumentError, match=r"none.json: cannot be read: No such file"):
        read_config(tmp_path / "none.json")
