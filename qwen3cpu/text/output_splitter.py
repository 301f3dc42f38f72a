"""Separates the model's output, token by token, into reasoning, answer and tool calls.

Token ids decide, never spellings: an answer that quotes `</think>` in plain text stays an answer. chat_template.py
renders prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qwen3cpu.text.call_json import ends_in_string, is_json, may_become_json
from qwen3cpu.text.tokenizer import StreamDecoder, Tokenizer

Kind = Literal["reasoning", "text", "tool_call", "unclosed_call"]
_MOST_REREADINGS = 64
"""Most blocks of one answer that are read twice, see `_Call`."""


@dataclass(frozen=True)
class Part:
    """A piece of output, never empty.

    Attributes:
        kind: `reasoning` and `text` come in pieces that must be joined. A `tool_call` is one whole block, an
            `unclosed_call` one without its closing tag.
        text: the visible text; for a block the text between its tags, or after its opening tag, which should be JSON.
    """

    kind: Kind
    text: str


def starts_thinking(prompt_ids: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Whether a rendered prompt ends inside a think block that it opened itself."""
    if tokenizer.think is None or tokenizer.end_think is None:
        return False
    for id_ in reversed(prompt_ids):
        if id_ == tokenizer.think:
            return True
        if id_ in (tokenizer.end_think, tokenizer.im_end):
            return False
    return False


class OutputSplitter:
    """Turns the ids of one answer into parts.

    Newlines around reasoning are dropped, and those between text and a block, because the chat template writes them. An
    empty think block yields nothing. A control token that opens or closes nothing here (a second `<think>`, a stray
    `</think>`) is left out, and so are special tokens. A model without think or tool-call tokens has text only. No part
    ends inside a character. Tags inside a string of a call's JSON belong to the string.

    Args:
        tokenizer: of the ids.
        in_thinking: the result of `starts_thinking` for the prompt.
        left_out: bytes at the beginning that are not shown.
    """

    def __init__(self, tokenizer: Tokenizer, *, in_thinking: bool, left_out: int = 0) -> None:
        self._tokenizer = tokenizer
        self._stream = _Stream(tokenizer, "text", trim_start=False, left_out=left_out)
        self._call: _Call | None = None
        self._waiting: list[int] = []
        self._rereadings = 0
        if in_thinking and tokenizer.end_think is not None:
            self._stream = _Stream(tokenizer, "reasoning", trim_start=not left_out, left_out=left_out)

    @property
    def in_thinking(self) -> bool:
        """Whether the next token belongs to the reasoning."""
        return self._stream.kind == "reasoning"

    @property
    def in_tool_call(self) -> bool:
        """Whether the next token belongs to a tool call."""
        return self._call is not None

    @property
    def held(self) -> str:
        """Newlines of the answer that are held back. They are shown if it ends here or continues with text."""
        return "" if self.in_thinking or self.in_tool_call else self._stream.held

    def push(self, id_: int) -> list[Part]:
        """Take a token; return the parts that it completes, perhaps none."""
        return self._take([id_])

    def _take(self, ids: Sequence[int]) -> list[Part]:
        """Take tokens. If a block has to be read again, take the tokens after its first tag once more."""
        parts: list[Part] = []
        self._waiting += reversed(ids)
        while self._waiting:
            parts += self._take_one(self._waiting.pop())
        return parts

    def _take_one(self, id_: int) -> list[Part]:
        tokenizer = self._tokenizer
        if self._call is not None:
            return self._push_call(self._call, id_)
        if self.in_thinking:
            if id_ == tokenizer.end_think:
                return self._switch("text", keep_newlines=False)
            # A tool call inside the reasoning is a thought about one: it shows as the model wrote it.
            return [] if id_ == tokenizer.think else self._stream.push(id_)
        if id_ == tokenizer.think and tokenizer.end_think is not None:
            return self._switch("reasoning", keep_newlines=self._stream.begun)
        if id_ == tokenizer.tool_call and tokenizer.end_tool_call is not None:
            self._call = _Call(tokenizer)
            return self._switch("text", keep_newlines=False)
        if id_ in (tokenizer.end_think, tokenizer.end_tool_call):
            return []
        return self._stream.push(id_)

    def finish(self) -> list[Part]:
        """Return the parts that were held back."""
        parts: list[Part] = []
        while self._call is not None:
            if self._call.is_one_block:
                parts += self._unclosed(self._call)
                self._call = None
            else:
                parts += self._read_again(self._call)
                parts += self._take([])
        return parts + self._stream.finish(keep_newlines=not self.in_thinking)

    def _switch(self, kind: Kind, *, keep_newlines: bool) -> list[Part]:
        parts = self._stream.finish(keep_newlines=keep_newlines)
        self._stream = _Stream(self._tokenizer, kind, trim_start=True)
        return parts

    def _push_call(self, call: _Call, id_: int) -> list[Part]:
        tokenizer = self._tokenizer
        if id_ not in (tokenizer.tool_call, tokenizer.end_tool_call):
            call.push(id_)
            return [] if call.may_be_one_block else self._read_again(call)
        if self._rereadings < _MOST_REREADINGS and call.ends_in_string:
            call.push_tag(id_)
            return []
        if not call.is_one_block:
            self._waiting.append(id_)
            return self._read_again(call)
        self._call = None
        if id_ == tokenizer.end_tool_call:
            return self._closed(call)
        self._call = _Call(tokenizer)
        return self._unclosed(call)

    def _read_again(self, call: _Call) -> list[Part]:
        """End the block at its first tag that seemed to be in a string, and take the tokens after that again."""
        self._rereadings += 1
        block, (tag, *rest) = call.parted()
        self._waiting += reversed(rest)
        if tag == self._tokenizer.end_tool_call:
            self._call = None
            return self._closed(block)
        self._call = _Call(self._tokenizer)
        return self._unclosed(block)

    def _closed(self, call: _Call) -> list[Part]:
        text = call.text.strip()
        return [Part("tool_call", text)] if text else []

    def _unclosed(self, call: _Call) -> list[Part]:
        text = call.text
        return [Part("unclosed_call", text)] if text.strip() else []


class _Call:
    """A block that has been opened.

    A model that writes a file about tool calls writes tags inside a string of its JSON. Such a tag belongs to the
    string if the rest of the block turns out to be JSON. If not, the string was never closed, and the block ended at
    that tag.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._first_tag: int | None = None
        self._decoder = StreamDecoder(tokenizer)
        self._pieces: list[str] = []
        self.may_be_one_block = True
        """False: the block ended at the first tag inside a string."""

    @property
    def text(self) -> str:
        """The text so far; U+FFFD for a half character at the end."""
        return self._tokenizer.decode(self._ids)

    @property
    def ends_in_string(self) -> bool:
        """Whether the next character is inside a string."""
        return ends_in_string(self.text if self._first_tag is None else "".join(self._pieces))

    @property
    def is_one_block(self) -> bool:
        """Whether the block may end here. After a tag inside a string it must be JSON."""
        return self._first_tag is None or is_json(self.text)

    def push(self, id_: int) -> None:
        """Add a token that is not a tag."""
        self._ids.append(id_)
        if self._first_tag is None:
            return
        piece = self._decoder.push(id_)
        self._pieces.append(piece)
        if '"' in piece:
            text = "".join(self._pieces)
            self.may_be_one_block = may_become_json(text[: text.rindex('"') + 1])

    def push_tag(self, id_: int) -> None:
        """Add a tag that is inside a string."""
        if self._first_tag is None:
            self._first_tag = len(self._ids)
            self._pieces = [self._decoder.push(each) for each in self._ids]
        self._ids.append(id_)
        self._pieces.append(self._decoder.push(id_))

    def parted(self) -> tuple[_Call, list[int]]:
        """The block up to its first tag inside a string, and that tag with the tokens after it."""
        assert self._first_tag is not None
        block = _Call(self._tokenizer)
        block._ids = self._ids[: self._first_tag]
        return block, self._ids[self._first_tag :]


class PlainOutput:
    """Replaces OutputSplitter for raw text: everything is text, the markers of blocks too."""

    in_thinking = False
    in_tool_call = False
    held = ""

    def __init__(self, tokenizer: Tokenizer, *, left_out: int = 0) -> None:
        self._decoder = StreamDecoder(tokenizer, left_out=left_out)

    def push(self, id_: int) -> list[Part]:
        """Take a token; return the part that it completes, if any."""
        return self._parts(self._decoder.push(id_))

    def finish(self) -> list[Part]:
        """Return the part that was held back: half a character."""
        return self._parts(self._decoder.finish())

    def _parts(self, text: str) -> list[Part]:
        return [Part("text", text)] if text else []


class _Stream:
    """Decodes ids into parts of one kind, and holds back newlines until it is clear whether they are shown."""

    def __init__(self, tokenizer: Tokenizer, kind: Kind, *, trim_start: bool, left_out: int = 0) -> None:
        self.kind = kind
        self._decoder = StreamDecoder(tokenizer, left_out=left_out)
        self._trim_start = trim_start
        self.held = ""
        self.begun = False
        """Whether something has been shown."""

    def push(self, id_: int) -> list[Part]:
        return self._add(self._decoder.push(id_))

    def finish(self, *, keep_newlines: bool) -> list[Part]:
        parts = self._add(self._decoder.finish())
        if keep_newlines and self.held:
            parts.append(Part(self.kind, self.held))
        self.held = ""
        return parts

    def _add(self, text: str) -> list[Part]:
        if not text:
            return []
        text = self.held + text
        if self._trim_start and not self.begun:
            text = text.lstrip("\n")
        # A think block that contains only white space is empty.
        waits = self.kind == "reasoning" and not self.begun and text.isspace()
        shown = "" if waits else text.rstrip("\n")
        self.held = text[len(shown) :]
        if not shown:
            return []
        self.begun = True
        return [Part(self.kind, shown)]
