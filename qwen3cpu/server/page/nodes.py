"""The form of a rendered answer: plain data, from which the page makes elements."""

from __future__ import annotations

from typing import Any

Node = str | list[Any]
"""A text, or an element: [tag, {attribute: value}, child, child, ...]."""

LINKS = ("http://", "https://", "mailto:")
"""Prefixes of the addresses of links. Other addresses are shown as text."""


def element(tag: str, *children: Node, **attributes: str) -> Node:
    """An element. An attribute whose name is a keyword of Python is written with an underscore at its end."""
    return [tag, {name.rstrip("_"): value for name, value in attributes.items()}, *children]


def joined(nodes: list[Node]) -> list[Node]:
    """The nodes, with neighbouring texts joined and without empty texts."""
    found: list[Node] = []
    for node in nodes:
        if node == "":
            continue
        if isinstance(node, str) and found and isinstance(found[-1], str):
            found[-1] += node
        else:
            found.append(node)
    return found
