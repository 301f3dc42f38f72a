"""The model's output, token by token, separated into reasoning, answer and tool calls.

The separation goes by token id, never by spelling: an answer that quotes `</think>` in plain text stays an answer.
chat_template.py renders prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from qwen3cpu.text.tokenizer import StreamDecoder, Tokenizer

Kind = Literal["reasoning", "text", "tool_call"]


@dataclass(frozen=True)
class Part:
    """A piece of output, never empty.

    Attributes:
        kind: `reasoning` and `text` come in pieces to be joined; a `tool_call` is one whole call.
        text: what to show; for a tool call the text between its tags, which should be JSON.
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

    Reasoning loses the newlines around it, and text those between it and a block beside it, as the chat template writes
    them; a think block without anything in it yields nothing. A control token that opens or closes nothing here (a
    second `<think>`, a stray `</think>`) is left out, and so are special tokens. A model without think or tool-call
    tokens has text only. No part ends inside a character.

    Args:
        tokenizer: whose ids they are.
        in_thinking: what `starts_thinking` says of the prompt.
    """

    def __init__(self, tokenizer: Tokenizer, *, in_thinking: bool) -> None:
        self._tokenizer = tokenizer
        self._stream = _Stream(tokenizer, "text", trim_start=False)
        self._call: list[int] | None = None
        if in_thinking and tokenizer.end_think is not None:
            self._stream = _Stream(tokenizer, "reasoning", trim_start=True)

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
        """Newlines of the answer that are held back: they are shown if it ends here or goes on with text."""
        return "" if self.in_thinking or self.in_tool_call else self._stream.held

    def push(self, id_: int) -> list[Part]:
        """What this token makes known, perhaps nothing."""
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
            self._call = []
            return self._switch("text", keep_newlines=False)
        if id_ in (tokenizer.end_think, tokenizer.end_tool_call):
            return []
        return self._stream.push(id_)

    def finish(self) -> list[Part]:
        """What was held back. A tool call that was not closed comes as text, with its opening tag."""
        parts = self._stream.finish(keep_newlines=not self.in_thinking)
        if self._call is not None:
            parts += self._unclosed(self._call)
            self._call = None
        return parts

    def _switch(self, kind: Kind, *, keep_newlines: bool) -> list[Part]:
        parts = self._stream.finish(keep_newlines=keep_newlines)
        self._stream = _Stream(self._tokenizer, kind, trim_start=True)
        return parts

    def _push_call(self, call: list[int], id_: int) -> list[Part]:
        if id_ == self._tokenizer.end_tool_call:
            self._call = None
            return self._closed(call)
        if id_ == self._tokenizer.tool_call:
            self._call = []
            return self._unclosed(call)
        call.append(id_)
        return []

    def _closed(self, call: Iterable[int]) -> list[Part]:
        """The one place where a whole call is known."""
        text = self._tokenizer.decode(call).strip()
        return [Part("tool_call", text)] if text else []

    def _unclosed(self, call: Iterable[int]) -> list[Part]:
        opening = [] if self._tokenizer.tool_call is None else [self._tokenizer.tool_call]
        return [Part("text", self._tokenizer.decode([*opening, *call]))]


class PlainOutput:
    """An OutputSplitter's stand-in for raw text: everything is text, the markers of blocks too."""

    in_thinking = False
    in_tool_call = False
    held = ""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = StreamDecoder(tokenizer)

    def push(self, id_: int) -> list[Part]:
        """What this token makes known, perhaps nothing."""
        return self._parts(self._decoder.push(id_))

    def finish(self) -> list[Part]:
        """What was held back: half a character."""
        return self._parts(self._decoder.finish())

    def _parts(self, text: str) -> list[Part]:
        return [Part("text", text)] if text else []


class _Stream:
    """Decodes ids into parts of one kind, holding back newlines until it is known whether they are to be shown."""

    def __init__(self, tokenizer: Tokenizer, kind: Kind, *, trim_start: bool) -> None:
        self.kind = kind
        self._decoder = StreamDecoder(tokenizer)
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
        # A think block with nothing but white space in it is an empty one.
        waits = self.kind == "reasoning" and not self.begun and text.isspace()
        shown = "" if waits else text.rstrip("\n")
        self.held = text[len(shown) :]
        if not shown:
            return []
        self.begun = True
        return [Part(self.kind, shown)]
