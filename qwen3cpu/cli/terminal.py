"""Writing answers to a terminal or a pipe: dimmed reasoning, no escape sequences from the model, a line of figures."""

from __future__ import annotations

import codecs
import json
import os
import sys
from typing import Any, TextIO

from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.system.standard_streams import CONTROLS

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class AnswerWriter:
    """Writes the chunks of one answer as they arrive.

    Args:
        out: the stream to write to.
        show_thinking: None: on a terminal only. On a pipe, reasoning is between <think> and </think>.
    """

    def __init__(self, out: TextIO, *, show_thinking: bool | None = None) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._dim = uses_colour(out)
        self._show_thinking = self._terminal if show_thinking is None else show_thinking
        self._last = ""
        self._thinking = False

    def write(self, chunk: Chunk) -> None:
        """Show what a chunk adds."""
        if chunk.reasoning and self._show_thinking:
            self._enter_thinking()
            self._put(chunk.reasoning)
        if chunk.text:
            self._leave_thinking()
            self._put(chunk.text)
        for call in chunk.tool_calls:
            self._leave_thinking()
            arguments = ", ".join(
                f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()
            )
            self._put(f"\n[call] {call.name}({arguments})\n")
        self._out.flush()

    def end(self) -> None:
        """Finish the last line, also after an answer that was stopped."""
        self._leave_thinking(between=False)
        if self._last and self._last != "\n":
            self._out.write("\n")
        self._last = ""
        self._out.flush()

    def _enter_thinking(self) -> None:
        if not self._thinking:
            self._thinking = True
            self._out.write("" if self._terminal else "<think>\n")
            self._out.write(DIM if self._dim else "")

    def _leave_thinking(self, between: bool = True) -> None:
        if self._thinking:
            self._thinking = False
            self._out.write(PLAIN if self._dim else "")
            self._out.write("" if self._terminal else "\n</think>")
            self._out.write("\n\n" if between else "")

    def _put(self, text: str) -> None:
        self._out.write(text.translate(CONTROLS) if self._terminal else text)
        self._last = text[-1]


def uses_colour(stream: TextIO) -> bool:
    """Whether escape sequences are welcome: a terminal that is not dumb, and no NO_COLOR (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def json_text(value: Any) -> str:
    """JSON for stdout. Characters are escaped where stdout is not in UTF-8, which could not write all of them."""
    return json.dumps(value, ensure_ascii=codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8")


def note(text: str) -> None:
    """A remark on stderr, dimmed on a terminal. Control characters are replaced, for file names may hold them."""
    text = text.translate(CONTROLS)
    line = f"{DIM}{text}{PLAIN}" if uses_colour(sys.stderr) else text
    print(line, file=sys.stderr, flush=True)


def figures(result: Result) -> str:
    """One line: tokens and tokens per second of prompt and answer, and the limit that ended the answer, if one did."""
    usage, timings = result.usage, result.timings
    kept = f" ({usage.cached_tokens} kept)" if usage.cached_tokens else ""
    parts = [
        f"prompt {usage.prompt_tokens} tokens{kept}, {timings.prompt_tokens_per_second:.1f}/s",
        f"answer {usage.completion_tokens} tokens, {timings.tokens_per_second:.1f}/s",
    ]
    if result.thinking_closed_by is not None:
        parts.append(f"thinking closed: {CLOSED[result.thinking_closed_by]}")
    if (ending := early_end(result)) is not None:
        parts.append(ending)
    return "; ".join(parts)


CLOSED = {"budget": "its budget is spent", "deadline": "the deadline is near", "loop": "it went round in a loop"}


def early_end(result: Result) -> str | None:
    """What ended an answer before the model did; None if the model or a stop text ended it."""
    count = result.usage.completion_tokens
    problem = "; ".join(result.schema_errors or ()) or "the answer ended early: no token could follow"
    return {
        "max_new_tokens": f"cut off after {count} new tokens, as asked",
        "context": f"cut off: the context of {result.usage.total_tokens} tokens is full",
        "deadline": f"cut off at the deadline, after {count} new tokens",
        "loop": f"ended after {count} new tokens: the answer repeated itself in a loop",
        "schema": problem,
        "error": f"ended after {count} new tokens by an error: {result.error}",
    }.get(result.stopped_by)
