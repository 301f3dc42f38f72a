"""The visible parts of an answer: reasoning, text and tool calls, separated token by token, up to a stop string."""

from __future__ import annotations

from typing import NamedTuple

from qwen3cpu.generation.options import Request
from qwen3cpu.text.output_splitter import OutputSplitter, Part, PlainOutput
from qwen3cpu.text.stop_strings import StopMatcher
from qwen3cpu.text.tokenizer import Tokenizer
from qwen3cpu.text.tool_calls import CallReader, MalformedCall, ToolCall


class Shown(NamedTuple):
    """The visible parts that some tokens have added to an answer."""

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    malformed_calls: tuple[MalformedCall, ...]

    def joined(self, later: Shown) -> Shown:
        """Both, concatenated."""
        return Shown(
            self.text + later.text,
            self.reasoning + later.reasoning,
            self.tool_calls + later.tool_calls,
            self.malformed_calls + later.malformed_calls,
        )


class Transcript:
    """Takes the tokens of one answer and keeps its visible parts.

    Args:
        tokenizer: of the ids.
        request: has stop strings, tools, and whether everything is plain text.
        in_thinking: whether the prompt ends inside a think block.
        left_out: bytes at the beginning that are not shown.
    """

    def __init__(self, tokenizer: Tokenizer, request: Request, *, in_thinking: bool, left_out: int = 0) -> None:
        self._splitter: OutputSplitter | PlainOutput = (
            PlainOutput(tokenizer, left_out=left_out)
            if request.plain
            else OutputSplitter(tokenizer, in_thinking=in_thinking, left_out=left_out)
        )
        self._stops = StopMatcher(request.stop)
        self._call_reader = CallReader(request.call_schemas)
        self._parts: list[Part] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self.tool_calls: list[ToolCall] = []
        """The calls so far."""
        self.malformed_calls: list[MalformedCall] = []
        """Blocks so far that are not valid calls."""

    @property
    def in_thinking(self) -> bool:
        """Whether the next token belongs to the reasoning."""
        return self._splitter.in_thinking

    @property
    def stop_string(self) -> str | None:
        """The stop string that has ended the text."""
        return self._stops.matched

    @property
    def text(self) -> str:
        """The text that has been shown."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning that has been shown."""
        return "".join(self._reasoning)

    def push(self, token: int) -> None:
        """Take a token. The next `show` returns what it adds."""
        self._parts += self._splitter.push(token)

    def show(self, *, at_end: bool) -> Shown:
        """What the tokens since the last call add. Text that may become a stop string is held back until the end."""
        text = reasoning = ""
        calls: list[ToolCall] = []
        malformed: list[MalformedCall] = []
        stops = self._stops
        parts, self._parts = self._parts, []
        if at_end:
            parts += self._splitter.finish()
        for part in parts:
            if stops.matched is not None:
                break
            if part.kind == "text":
                text += stops.push(part.text)
            elif part.kind == "reasoning":
                text += stops.flush()
                reasoning += part.text
            else:
                read = self._call_reader.read(part.text, closed=part.kind == "tool_call")
                if isinstance(read, MalformedCall):
                    text += stops.push(read.text)
                    malformed.append(read)
                else:
                    text += stops.flush()
                    calls += read
        if stops.matched is None:
            if at_end:
                text += stops.flush()
            elif self._splitter.held and stops.would_match(self._splitter.held):
                # The newlines that are held back complete a stop string.
                text += stops.push(self._splitter.held)
        self.tool_calls += calls
        self.malformed_calls += malformed
        self._text.append(text)
        self._reasoning.append(reasoning)
        return Shown(text, reasoning, tuple(calls), tuple(malformed))
