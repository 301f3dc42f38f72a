"""Decides whether a Host header names this machine. Addresses are compared by value, not by spelling."""

from __future__ import annotations

import ipaddress
import re
import socket

_NUMBERS = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}")

_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+")
_HOST = re.compile(r"([^\s/?#@:*\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d+)?")


def is_origin(text: str) -> bool:
    """Whether a text has the form of an `Origin` header, in the spelling of browsers, or is `*` for all origins."""
    return _ORIGIN.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether a text has the form of a `Host` header."""
    return _HOST.fullmatch(text.strip()) is not None


def is_loopback(address: str) -> bool:
    """Whether an address is a loopback address, which no other machine can reach. False for names."""
    bare = address.partition("%")[0]
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        # The spellings of inet_aton: 127.1, 0x7f.1, 2130706433.
        if not _NUMBERS.fullmatch(bare.lower()):
            return False
        try:
            found = ipaddress.ip_address(socket.inet_aton(bare))
        except OSError:
            return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def host_name(header: str) -> str:
    """The name in a Host header: without port, brackets, the dot at the end, and capitals."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def is_allowed(header: str, names: frozenset[str]) -> bool:
    """Whether a server for this machine answers to a Host header: an address of this machine, or one of the names."""
    name = host_name(header)
    return name in names or is_loopback(name)
