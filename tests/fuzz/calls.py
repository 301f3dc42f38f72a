"""Damaged tool calls, as models may write them, parsed with random schemas of tools."""

from __future__ import annotations

import json
import random
from pathlib import Path

from mutations import odd_value
from schemas import random_schema

import qwen3cpu
from qwen3cpu.text.output_splitter import OutputSplitter, Part
from qwen3cpu.text.tokenizer import Tokenizer
from qwen3cpu.text.tool_calls import CallReader, argument_validators

PIECES = (
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "<|im_end|>", "```json\n", "\n```", "'", '"', "\\"),
    *(" ", "\n", ",", "{", "}", "[", "]", ":", "\\u00", "True", "null", "NaN", "1e999", "é👋", '"name"', "parameters"),
)
ARGUMENTS = ("a" * 26 + "!", "</tool_call>", "<tool_call>", "it's", 'say "a"', "\n", 1, None, [1], {"b": 2})


def damaged_answer(rng: random.Random) -> str:
    """Make an answer with one or two calls and up to six damages in its text."""
    calls = []
    for _ in range(rng.randrange(1, 3)):
        arguments = {name: rng.choice(ARGUMENTS) for name in rng.sample(("a", "b", "name"), 2)}
        call = {"name": rng.choice(("f", "g")), rng.choice(("arguments", "parameters")): arguments}
        written = json.dumps(call) if rng.random() < 0.7 else repr(call)
        calls.append(f"<tool_call>\n{written}\n</tool_call>")
    text = "I look.\n" + "\n".join(calls) + "\nDone."
    for _ in range(rng.randrange(0, 7)):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(("", rng.choice(PIECES))) + text[at + rng.choice((0, 0, 1, 5)) :]
    return text


class Calls:
    """Reads answers.

    Args:
        folder: not used.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = qwen3cpu.load("tiny", threads=1).tokenizer

    def read(self, rng: random.Random) -> None:
        """Read one answer, split into tokens in two ways, with the same result."""
        text = damaged_answer(rng)
        schema = random_schema(rng)
        tools = [{"name": "f", "parameters": schema if isinstance(schema, dict) else {}}, {"name": "g"}]
        ids = self._tokenizer.encode(text, control_tokens=True)
        # A single character gives other tokens than merged characters.
        pieces = [part for piece, id_ in self._tokenizer.split_control_tokens(text) for part in (piece, id_)]
        apart: list[int] = []
        for piece in pieces:
            if isinstance(piece, int):
                apart.append(piece)
            for character in piece if isinstance(piece, str) else "":
                apart += self._tokenizer.encode(character)
        parts = _parts(self._tokenizer, ids)
        assert parts == _parts(self._tokenizer, apart), text
        reader = CallReader(argument_validators(tools))
        for kind, written in parts:
            if kind in ("tool_call", "unclosed_call"):
                reader.read(written, closed=kind == "tool_call")
        reader.read(json.dumps({"name": "f", "arguments": odd_value(rng)}))


def _parts(tokenizer: Tokenizer, ids: list[int]) -> list[tuple[str, str]]:
    """Return the parts of an answer; adjacent pieces of text, or of reasoning, are joined."""
    splitter = OutputSplitter(tokenizer, in_thinking=False)
    found: list[Part] = [part for id_ in ids for part in splitter.push(id_)] + splitter.finish()
    joined: list[tuple[str, str]] = []
    for part in found:
        if joined and joined[-1][0] == part.kind in ("text", "reasoning"):
            joined[-1] = (part.kind, joined[-1][1] + part.text)
        else:
            joined.append((part.kind, part.text))
    return joined
