"""The visible parts of an answer do not depend on its cut into tokens: reasoning, calls, text and stop strings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cutting import cuts, tokenizer_for
from drafters import Sure

from qwen3cpu.engine.sampling import SamplingParams
from qwen3cpu.generation import answer
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.generation.surroundings import Surroundings
from qwen3cpu.text.tokenizer import Tokenizer
from qwen3cpu.text.tool_calls import ToolCall

Item = str | bytes
THINK, END_THINK, CALL, END_CALL, IM_END = "<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>"


def ways(output: Sequence[Item]) -> Iterator[list[Item]]:
    """Every cut of the longest text with the others whole, and every cut of the others with the longest whole."""
    longest = max((item for item in output if isinstance(item, bytes)), key=len)
    for cut_longest in (True, False):
        choices: list[list[list[Item]]] = []
        for item in output:
            whole: list[list[Item]] = [[item]]
            cut = isinstance(item, bytes) and (item is longest) is cut_longest
            choices.append([list(pieces) for pieces in cuts(item)] if isinstance(item, bytes) and cut else whole)
        for chosen in itertools.product(*choices):
            yield [item for pieces in chosen for item in pieces]


class Positions:
    """A sequence that has only a length."""

    length = 0

    def __init__(self, adapter: None = None) -> None:
        self.adapter = adapter

    def truncate(self, length: int) -> None:
        self.length = length


class Drafts:
    """Proposes the next ids of an answer after a prompt of one token."""

    def __init__(self, ids: list[int], most: int) -> None:
        self.ids, self.most = ids, most

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        start = len(tokens) - 1
        return self.ids[start : start + min(self.most, most)]


def say(
    monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, ids: list[int], stop: str, drafted: int = 0
) -> tuple[Result, list[Chunk]]:
    """The result and the chunks of an answer that consists of these ids. drafted: number of ids in a draft."""
    waiting = iter(ids)

    class Dictated:
        seed = 0

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def sample(self, _: Any) -> int:
            return next(waiting)

    monkeypatch.setattr(answer, "Sampler", Dictated)
    engine: Any = SimpleNamespace(
        vocab_size=tokenizer.size,
        context=10_000,
        new_sequence=Positions,
        prefix_cache=SimpleNamespace(store=lambda _: None),
    )
    drafters = (lambda: [Sure(Drafts(ids, drafted))]) if drafted else None
    ends = frozenset({tokenizer.control_tokens[IM_END]})
    surroundings = Surroundings(engine, tokenizer, ends, make_drafters=drafters)
    said = Answer(surroundings, [0], Request(sampling=SamplingParams(), stop=(stop,) if stop else ()))
    chunks = []
    while said.result is None:
        count = len(said.pending)
        rows = np.zeros((len(said.wanted(count)), tokenizer.size), np.float32)
        said.sequence.length += count
        said.fed(count, rows)
        chunks.append(said.receive(rows))
    return said.result, chunks


def events(chunks: Sequence[Chunk]) -> list[tuple[str, object]]:
    """Reasoning, text and calls in the order in which a client sees them, with neighbouring pieces joined."""
    seen: list[tuple[str, Any]] = []
    for chunk in chunks:
        for kind, value in (("reasoning", chunk.reasoning), ("text", chunk.text), ("call", chunk.tool_call)):
            if value and seen and seen[-1][0] == kind != "call":
                seen[-1] = (kind, seen[-1][1] + value)
            elif value:
                seen.append((kind, value))
    return seen


ANSWER: list[Item] = [THINK, b"\n-Y\n", END_THINK, b"\n\nV\n", CALL, b'{"name":"-Y"}', END_CALL, b"\nW-YZ", IM_END]
MALFORMED: list[Item] = [b"V", CALL, b"\n{-Y\n", END_CALL, b"W", IM_END]


@pytest.mark.parametrize(
    ("output", "stop", "text", "calls", "malformed", "stopped_by"),
    [
        (ANSWER, "", "VW-YZ", 1, 0, "eos"),
        (ANSWER, "-Y", "VW", 1, 0, "stop_string"),
        (ANSWER, "W-YZ", "V", 1, 0, "stop_string"),
        (ANSWER, "VW", "VW-YZ", 1, 0, "eos"),
        (ANSWER, "V", "", 0, 0, "stop_string"),
        (MALFORMED, "", "V<tool_call>\n{-Y\n</tool_call>W", 0, 1, "eos"),
        (MALFORMED, "-Y", "V<tool_call>\n{", 0, 1, "stop_string"),
    ],
)
def test_every_cut_gives_the_same_answer(
    monkeypatch: pytest.MonkeyPatch,
    output: list[Item],
    stop: str,
    text: str,
    calls: int,
    malformed: int,
    stopped_by: str,
) -> None:
    tokenizer, ids = tokenizer_for(item for item in output if isinstance(item, bytes))
    count = 0
    for cut in ways(output):
        tokens = [ids[item] if isinstance(item, bytes) else tokenizer.control_tokens[item] for item in cut]
        result, chunks = say(monkeypatch, tokenizer, tokens, stop)
        streamed = "".join(chunk.text for chunk in chunks)
        assert result.text == streamed == text, cut
        assert result.reasoning == ("-Y" if output is ANSWER else "")
        assert result.tool_calls == (ToolCall("-Y", {}),) * calls
        assert len(result.malformed_calls) == malformed
        assert result.stopped_by == stopped_by
        for drafted in (1, 3, 40) if count % 97 == 0 else ():
            again, faster = say(monkeypatch, tokenizer, tokens, stop, drafted)
            assert replace(again, timings=result.timings) == result
            assert events(faster) == events(chunks)
            assert len(faster) < len(chunks)
        count += 1
    assert count > (4000 if output is ANSWER else 8)
