"""Converts messages of content blocks to messages of a chat."""

from __future__ import annotations

from typing import Any

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of, shown

Json = dict[str, Any]


class Conversation:
    """The messages of a chat that are made from a request, and their places in the request."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.places: dict[str, str] = {}
        """Place in `messages` -> place in the request."""
        self._calls: set[str] = set()
        """The ids of the calls so far."""

    def add_system(self, system: Any) -> None:
        """Add the field `system`, which is a text or blocks of text."""
        if system not in (None, "", []):
            self._add({"role": "system", "content": _text(system, "system")}, "system", "system")

    def add(self, message: Any, where: str) -> None:
        """Add a message of the request.

        Raises:
            ApiError: a block of a kind that the model cannot read.
        """
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            self._add(message, where, f"{where}.content")
        elif message.get("role") == "assistant":
            self._add_assistant(content, where)
        else:
            self._add_blocks(message.get("role"), content, where)

    def _add(self, message: Any, where: str, content: str) -> None:
        place = f"messages[{len(self.messages)}]"
        self.places |= {place: where, f"{place}.content": content}
        self.messages.append(message)

    def _add_blocks(self, role: Any, content: list[Any], where: str) -> None:
        """Add a message of a user. Each result of a tool becomes a separate message."""
        texts: list[str] = []
        for index, block in enumerate(content):
            place = f"{where}.content[{index}]"
            if isinstance(block, dict) and block.get("type") == "tool_result":
                self._add_texts(role, texts, where)
                texts = []
                result = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(block, place)}
                self._check_id(block.get("tool_use_id"), f"{place}.tool_use_id")
                self._add(result, place, f"{place}.content")
            else:
                texts.append(_block_text(block, place))
        if texts or not content:
            self._add_texts(role, texts or [""], where)

    def _check_id(self, call: Any, where: str) -> None:
        if not isinstance(call, str) or call not in self._calls:
            message = f"{where}: expected the id of an earlier tool_use block, found {shown(call)}"
            raise ApiError(400, message, code="invalid_value", param=where)

    def _add_texts(self, role: Any, texts: list[str], where: str) -> None:
        if texts:
            self._add({"role": role, "content": "\n".join(texts)}, where, f"{where}.content")

    def _add_assistant(self, content: list[Any], where: str) -> None:
        """Add a message of the assistant. Reasoning and calls go into separate fields."""
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[Json] = []
        here = f"messages[{len(self.messages)}]"
        for index, block in enumerate(content):
            place = f"{where}.content[{index}]"
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "tool_use":
                call = f"{here}.tool_calls[{len(calls)}]"
                self.places |= {call: place, f"{call}.function": place, f"{call}.function.arguments": f"{place}.input"}
                if not isinstance(block.get("input"), dict):
                    problem = f"{place}.input: expected an object, found {kind_of(block.get('input'))}"
                    raise ApiError(400, problem, code="invalid_value", param=f"{place}.input")
                if isinstance(block.get("id"), str):
                    self._calls.add(block["id"])
                function = {"name": block.get("name"), "arguments": block.get("input")}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            elif kind == "thinking":
                thoughts.append(_string(block.get("thinking"), f"{place}.thinking"))
            elif kind != "redacted_thinking":
                texts.append(_block_text(block, place))
        message: Json = {"role": "assistant", "content": "".join(texts)}
        if any(thoughts):
            message["reasoning_content"] = "\n".join(thoughts)
        if calls:
            message["tool_calls"] = calls
        self._add(message, where, f"{where}.content")


def _result(block: Json, where: str) -> str:
    """The result of a tool. An error is marked by a word, because a chat has no field for it."""
    content = block.get("content")
    text = "" if content is None else _text(content, f"{where}.content")
    return f"Error: {text}" if block.get("is_error") is True else text


def _text(content: Any, where: str) -> str:
    """A text, or the texts of blocks, each on its own line."""
    if not isinstance(content, list):
        return _string(content, where)
    return "\n".join(_block_text(block, f"{where}[{index}]") for index, block in enumerate(content))


def _block_text(block: Any, where: str) -> str:
    """The text of a block. ApiError for a block without text."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        return _string(block.get("text"), f"{where}.text")
    if kind == "search_result":
        parts = [block.get("title"), block.get("source"), _text(block.get("content"), f"{where}.content")]
        return "\n".join(part for part in parts if isinstance(part, str) and part)
    source = block.get("source") if kind == "document" else None
    if isinstance(source, dict) and source.get("type") in ("text", "content"):
        field = "data" if source["type"] == "text" else "content"
        parts = [block.get("title"), block.get("context"), _text(source.get(field), f"{where}.source.{field}")]
        return "\n".join(part for part in parts if isinstance(part, str) and part)
    found = f"a block of type {shown(kind)}" if isinstance(block, dict) else kind_of(block)
    message = f"{where}: expected text, because the model reads nothing else, found {found}"
    raise ApiError(400, message, code="invalid_value", param=where)


def _string(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise ApiError(400, f"{where}: expected text, found {kind_of(text)}", code="invalid_value", param=where)
    return text
