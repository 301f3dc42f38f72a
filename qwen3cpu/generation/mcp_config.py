"""The configuration of MCP servers, as Claude Desktop and VS Code write it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.text_files import read_text_file

KEYS = ("mcpServers", "servers")
"""Keys under which a configuration lists its servers: Claude Desktop's, VS Code's."""
KINDS = ("stdio", "http", "streamable-http", "sse")
TIMEOUT = 60.0
"""Seconds in which a server has to answer a call."""
START_TIMEOUT = 60.0
"""Seconds in which a server has to be ready. The command may have to download it first."""
_COMMAND = ("command", "args", "env", "cwd")
_URL = ("url", "headers")


@dataclass(frozen=True)
class ServerConfig:
    """One server: a command to run, or an address.

    name: its key in the configuration. kind: one of KINDS. command, args, env, cwd: of a process; env is added to a few
    variables of this process. url, headers: of a server that is already running.
    """

    name: str
    kind: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] | None = None


def read_config(config: str | os.PathLike[str] | Mapping[str, Any]) -> list[ServerConfig]:
    """Read the servers of a configuration: a file, or its content. Servers with `"disabled": true` are left out.

    Raises:
        ArgumentError: the file cannot be read, or is not such a configuration; the message names the place.
    """
    if isinstance(config, Mapping):
        where, given = "mcp", config
    else:
        where = os.fspath(config)
        given = _parsed(read_text_file(Path(where), where), where)
    key = next((key for key in KEYS if key in given), None)
    if key is None:
        found = ", ".join(map(str, given))[:80] or "an empty object"
        raise ArgumentError(f"{where}: expected an object with {KEYS[0]}, found {found}")
    servers = given[key]
    if not isinstance(servers, Mapping):
        raise ArgumentError(f"{where}: {key}: expected an object of servers, found {type(servers).__name__}")
    if not servers:
        raise ArgumentError(f"{where}: {key}: expected at least one server, found none")
    found_servers = [_server(str(name), entry, f"{where}: {key}.{name}") for name, entry in servers.items()]
    return [each for each in found_servers if each is not None]


def _parsed(text: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{where}: expected JSON: {error}") from None
    if not isinstance(value, dict):
        raise ArgumentError(f"{where}: expected an object with {KEYS[0]}, found {type(value).__name__}")
    return value


def _server(name: str, entry: Any, where: str) -> ServerConfig | None:
    if not isinstance(entry, Mapping):
        raise ArgumentError(f"{where}: expected an object, found {type(entry).__name__}")
    if entry.get("disabled") is True:
        return None
    forms = [form for form in ("command", "url") if entry.get(form) is not None]
    if len(forms) != 1:
        raise ArgumentError(f"{where}: expected a command or a url, found {'both' if forms else 'neither'}")
    kind = entry.get("type", "stdio" if forms == ["command"] else "http")
    if kind not in KINDS or (kind == "stdio") != (forms == ["command"]):
        expected = "stdio" if forms == ["command"] else ", ".join(KINDS[1:])
        raise ArgumentError(f"{where}.type: expected {expected} with {forms[0]}, found {kind!r}")
    beside = _URL if forms == ["command"] else _COMMAND
    wrong = next((field for field in beside if entry.get(field) is not None), None)
    if wrong is not None:
        raise ArgumentError(f"{where}.{wrong}: cannot be used with {forms[0]}")
    if forms == ["url"]:
        url = _text(entry["url"], f"{where}.url")
        if not url.startswith(("http://", "https://")):
            raise ArgumentError(f"{where}.url: expected an address with http:// or https://, found {url!r}")
        return ServerConfig(name, kind, url=url, headers=_texts(entry.get("headers"), f"{where}.headers"))
    args = entry.get("args") or []
    if not isinstance(args, (list, tuple)):
        raise ArgumentError(f"{where}.args: expected a list of strings, found {type(args).__name__}")
    cwd = entry.get("cwd")
    return ServerConfig(
        name,
        kind,
        command=_text(entry["command"], f"{where}.command"),
        args=tuple(_text(each, f"{where}.args[{place}]", empty=True) for place, each in enumerate(args)),
        env=_texts(entry.get("env"), f"{where}.env"),
        cwd=None if cwd is None else _text(cwd, f"{where}.cwd"),
    )


def _text(value: Any, where: str, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{where}: expected a string, found {type(value).__name__}")
    if not value and not empty:
        raise ArgumentError(f"{where}: expected a string, found an empty one")
    if "${" in value:
        raise ArgumentError(f"{where}: expected a string without variables, which are not replaced, found {value!r}")
    return value


def _texts(values: Any, where: str) -> dict[str, str] | None:
    if values is None:
        return None
    if not isinstance(values, Mapping):
        raise ArgumentError(f"{where}: expected an object of strings, found {type(values).__name__}")
    return {str(name): _text(value, f"{where}.{name}", empty=True) for name, value in values.items()}
