"""A conversation as a file for people (Markdown) or programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from qwen3cpu.errors import ArgumentError

_SPEAKERS: Final = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


def export(messages: Sequence[Mapping[str, Any]], path: Path, model: str) -> None:
    """Write a conversation to a new file.

    Args:
        messages: the messages of the conversation.
        path: its suffix decides the form: .json, or .md and .txt for Markdown.
        model: its name, for the JSON file.

    Raises:
        ArgumentError: another suffix, a file that is there already, or one that cannot be written.
    """
    if path.suffix == ".json":
        text = json.dumps({"model": model, "messages": list(messages)}, ensure_ascii=False, indent=2) + "\n"
    elif path.suffix in (".md", ".txt"):
        text = as_markdown(messages)
    else:
        raise ArgumentError(f"/export: expected a file that ends in .md, .txt or .json, found {path.name!r}")
    made = False
    try:
        with open(path, "x", encoding="utf-8", errors="replace") as file:
            made = True
            file.write(text)
    except FileExistsError:
        raise ArgumentError(f"/export: expected a new file, found {path}, which is there already") from None
    except OSError as reason:
        if made:
            path.unlink(missing_ok=True)
        raise ArgumentError(f"/export: {path}: cannot be written: {reason.strerror or reason}") from None


def as_markdown(messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages with a heading for each speaker; reasoning is a block quotation."""
    parts = []
    for message in messages:
        role = str(message.get("role"))
        parts.append(f"## {_SPEAKERS.get(role, role)}")
        if message.get("reasoning_content"):
            parts.append("\n".join(f"> {line}".rstrip() for line in str(message["reasoning_content"]).split("\n")))
        if message.get("content"):
            parts.append(str(message["content"]))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            arguments = json.dumps(function["arguments"], ensure_ascii=False)
            parts.append(f"`{function['name']}({arguments})`")
    return "\n\n".join(parts) + "\n"
