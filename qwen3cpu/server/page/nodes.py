"""What an answer is made of once it is rendered: plain data, of which the page makes elements."""

from __future__ import annotations

from typing import Any

Node = str | list[Any]
"""A text, or an element: [tag, {attribute: value}, child, child, ...]."""

LINKS = ("http://", "https://", "mailto:")
"""What the address of a link begins with; all others are shown as text."""


def element(tag: str, *children: Node, **attributes: str) -> Node:
    """An element. Attributes may end with an underscore where their name is a keyword of Python."""
    return [tag, {name.rstrip("_"): value for name, value in attributes.items()}, *children]


def joined(nodes: list[Node]) -> list[Node]:
    """The nodes with neighbouring texts made one, without empty ones."""
    found: list[Node] = []
    for node in nodes:
        if node == "":
            continue
        if isinstance(node, str) and found and isinstance(found[-1], str):
            found[-1] += node
        else:
            found.append(node)
    return found
