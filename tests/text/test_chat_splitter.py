"""Separating reasoning, answer and tool calls: every way of cutting the stream gives the same parts."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Sequence

import pytest
from cutting import cuts, tokenizer_for
from hypothesis import example, given
from hypothesis import strategies as st
from small_tokenizer import CONFIG, small, trained, with_vocabulary

from qwen3cpu.text.output_splitter import OutputSplitter, Part
from qwen3cpu.text.tokenizer import Tokenizer

THINK, END_THINK, CALL, END_CALL, IM_END = "<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>"
CONTROL = (THINK, END_THINK, CALL, END_CALL, IM_END)
Item = str | bytes
"""Output: the spelling of a control token, or bytes of text."""

# One example for each rule, with few enough bytes to cut in every way.
OUTPUTS: dict[str, list[Item]] = {
    "text": ["\né\n👋\n".encode()],
    "reasoning and text": [THINK, "\né\n\n".encode(), END_THINK, b"\n\na\nb\n"],
    "empty block": [THINK, b"\n\n", END_THINK, "\n\né".encode()],
    "block of white space": [THINK, b"\n \t\n", END_THINK, b"\n\n a"],
    "white space before reasoning": [THINK, b"\n\n  \na \n", END_THINK, b"\n \n"],
    "newlines before the block": [b"\n\n", THINK, b"a\n", END_THINK, b"\nb"],
    "text before the block": [b"\na\n\n", THINK, b"b", END_THINK, b"\nc"],
    "one call": [b"\na\n", CALL, '\n{"é"}\n'.encode(), END_CALL, IM_END],
    "calls in a row": [
        THINK,
        b"a",
        END_THINK,
        b"\n\n",
        CALL,
        b"\n1\n",
        END_CALL,
        b"\n",
        CALL,
        b"2",
        END_CALL,
        b"\nb\n",
    ],
    "half characters at the borders": [
        THINK,
        b"a\xf0\x9f",
        END_THINK,
        b"\xe4\xb8",
        CALL,
        b"\xc3",
        END_CALL,
        b"\xf0\x9f\x91",
    ],
    "unclosed call": [b"a\n", CALL, '\n{"é'.encode()],
    "call in a call": [CALL, b"\n1", CALL, b"\n2\n", END_CALL, b"a"],
    "empty call": [b"a\n", CALL, b"\n\n", END_CALL, b"\nb"],
    "call in the reasoning": [THINK, b"a", CALL, b"\n1", END_CALL, b"b", END_THINK, b"c"],
    "think in a call": [CALL, b"1", THINK, b"2", END_THINK, b"3", END_CALL],
    "strays": [END_THINK, b"a\xc3", END_CALL, b"\xa9", END_THINK, b"\n", THINK, THINK, b"b", THINK, b"c", END_THINK],
    "unclosed reasoning": [THINK, b"\na\n", IM_END, b"\nb\n\n"],
    "tags in a string": [CALL, b'{"":"', CALL, b"1", END_CALL, b'"}', END_CALL, b"a"],
    "a string that is never closed": [
        CALL,
        b'{"":"',
        END_CALL,
        b"a",
        THINK,
        b"b",
        END_THINK,
        CALL,
        b'{"',
        END_CALL,
        b"c",
    ],
    "a call that is whole but not closed": [CALL, b'{"":"', END_CALL, b'"}'],
    "nothing": [],
}


def split(tokenizer: Tokenizer, ids: Sequence[int], in_thinking: bool) -> list[tuple[str, str]]:
    """The splitter's parts for the ids, with neighbouring pieces of reasoning and of text joined."""
    splitter = OutputSplitter(tokenizer, in_thinking=in_thinking)
    parts = [part for id_ in ids for part in splitter.push(id_)] + splitter.finish()
    assert all(part.text for part in parts), "no empty parts"
    return joined(parts)


def joined(parts: Iterable[Part]) -> list[tuple[str, str]]:
    """Join neighbouring pieces of reasoning and of text; calls are unchanged."""
    result: list[tuple[str, str]] = []
    for part in parts:
        if result and result[-1][0] == part.kind in ("reasoning", "text"):
            result[-1] = (part.kind, result[-1][1] + part.text)
        else:
            result.append((part.kind, part.text))
    return result


def first_error(text: str) -> str | None:
    """The standard library's error for a sequence of objects."""
    while text.strip():
        if text.lstrip()[0] not in "{[":
            return "no object"
        try:
            _, end = json.JSONDecoder(strict=False).raw_decode(text.strip())
        except json.JSONDecodeError as error:
            return error.msg
        text = text.strip()[end:].lstrip().removeprefix(",")
    return None


def block(items: Sequence[Item]) -> tuple[bytes, int]:
    """The content of a call's block at the beginning of items, and the number of items in it."""
    content, first = b"", None
    for place, item in enumerate([*items, ""]):
        if item in (CALL, END_CALL, ""):
            error = first_error(content.decode(errors="replace"))
            if item and error and error.startswith("Unterminated string"):
                first = first or (content, place)
            elif first is None or error is None:
                return content, place
            else:
                break
        content += item if isinstance(item, bytes) else b"" if item == IM_END else item.encode()
    assert first is not None
    return first


def oracle(items: Sequence[Item], in_thinking: bool) -> list[tuple[str, str]]:
    """The same rules, applied to whole blocks of output."""
    parts: list[Part] = []
    calls_end = -1
    kind, content, after_block = "reasoning" if in_thinking else "text", b"", in_thinking

    def close(then: str) -> None:
        nonlocal content
        text = content.decode(errors="replace")
        content = b""
        if kind == "reasoning":
            parts.append(Part("reasoning", text.strip("\n") if text.strip() else ""))
        elif kind == "text":
            text = text.lstrip("\n") if after_block else text
            text = text.rstrip("\n") if then == CALL else text
            parts.append(Part("text", "" if then == THINK and not text.strip("\n") else text))
        else:
            shown = Part("tool_call", text.strip()) if then == END_CALL else Part("unclosed_call", text)
            parts.append(shown if text.strip() else Part("text", ""))

    for place, item in enumerate(items):
        if isinstance(item, bytes):
            content += item
        elif kind == "call" and item in (CALL, END_CALL) and place < calls_end:
            content += item.encode()
        elif (kind, item) in {
            ("text", THINK),
            ("text", CALL),
            ("call", CALL),
            ("call", END_CALL),
            ("reasoning", END_THINK),
        }:
            close(item)
            kind, after_block = {THINK: "reasoning", CALL: "call"}.get(item, "text"), True
            if kind == "call":
                calls_end = place + 1 + block(items[place + 1 :])[1]
        elif item != IM_END and (kind == "call" or (kind == "reasoning" and item in (CALL, END_CALL))):
            content += item.encode()
    close("")
    return joined(part for part in parts if part.text)


@pytest.mark.parametrize("in_thinking", [False, True])
@pytest.mark.parametrize("name", OUTPUTS)
def test_every_way_of_cutting(name: str, in_thinking: bool) -> None:
    output = OUTPUTS[name]
    tokenizer, ids = tokenizer_for(item for item in output if isinstance(item, bytes))
    expected = oracle(output, in_thinking)
    choices = [list(cuts(item)) if isinstance(item, bytes) else [[item]] for item in output]
    for cut in itertools.product(*choices):
        stream = [ids[t] if isinstance(t, bytes) else tokenizer.control_tokens[t] for tokens in cut for t in tokens]
        assert split(tokenizer, stream, in_thinking) == expected, cut


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text", [("text", "\né\n👋\n")]),
        ("reasoning and text", [("reasoning", "é"), ("text", "a\nb\n")]),
        ("empty block", [("text", "é")]),
        ("block of white space", [("text", " a")]),
        ("white space before reasoning", [("reasoning", "  \na "), ("text", " \n")]),
        ("newlines before the block", [("reasoning", "a"), ("text", "b")]),
        ("text before the block", [("text", "\na\n\n"), ("reasoning", "b"), ("text", "c")]),
        ("one call", [("text", "\na"), ("tool_call", '{"é"}')]),
        ("calls in a row", [("reasoning", "a"), ("tool_call", "1"), ("tool_call", "2"), ("text", "b\n")]),
        (
            "half characters at the borders",
            [("reasoning", "a\ufffd"), ("text", "\ufffd"), ("tool_call", "\ufffd"), ("text", "\ufffd")],
        ),
        ("unclosed call", [("text", "a"), ("unclosed_call", '\n{"é')]),
        ("call in a call", [("unclosed_call", "\n1"), ("tool_call", "2"), ("text", "a")]),
        ("tags in a string", [("tool_call", '{"":"<tool_call>1</tool_call>"}'), ("text", "a")]),
        (
            "a string that is never closed",
            [("tool_call", '{"":"'), ("text", "a"), ("reasoning", "b"), ("tool_call", '{"'), ("text", "c")],
        ),
        ("a call that is whole but not closed", [("unclosed_call", '{"":"</tool_call>"}')]),
        ("empty call", [("text", "ab")]),
        ("call in the reasoning", [("reasoning", "a<tool_call>\n1</tool_call>b"), ("text", "c")]),
        ("think in a call", [("tool_call", "1<think>2</think>3")]),
        ("strays", [("text", "aé\n"), ("reasoning", "bc")]),
        ("unclosed reasoning", [("reasoning", "a\n\nb")]),
        ("nothing", []),
    ],
)
def test_oracle_says_what_is_meant(name: str, expected: list[tuple[str, str]]) -> None:
    assert oracle(OUTPUTS[name], in_thinking=False) == expected


BYTES = sorted(set("aé👋世\n ".encode()))
BYTE_TOKENIZER = Tokenizer(with_vocabulary([bytes([byte]) for byte in BYTES]), CONFIG, source="bytes")


@given(st.lists(st.sampled_from([*CONTROL, *(bytes([byte]) for byte in BYTES), b"\n", b"\n"])), st.booleans())
def test_any_output_and_every_beginning_of_it(output: list[Item], in_thinking: bool) -> None:
    ids = [BYTES.index(t[0]) if isinstance(t, bytes) else BYTE_TOKENIZER.control_tokens[t] for t in output]
    for length in range(len(output) + 1):
        assert split(BYTE_TOKENIZER, ids[:length], in_thinking) == oracle(output[:length], in_thinking)


CALL_PIECES: list[Item] = [b'{"a":"', b'"}', b'"', b"\\", b"x", b",", *CONTROL]
CALL_BYTES = sorted({byte for piece in CALL_PIECES if isinstance(piece, bytes) for byte in piece})
CALL_TOKENIZER = Tokenizer(with_vocabulary([bytes([byte]) for byte in CALL_BYTES]), CONFIG, source="call bytes")


@example(output=[CALL, b'{"a":"', CALL, b'"}', b","])
@given(st.lists(st.sampled_from(CALL_PIECES), max_size=14).map(lambda pieces: [CALL, b'{"a":"', *pieces]))
def test_any_calls_and_every_beginning_of_them(output: list[Item]) -> None:
    for length in range(len(output) + 1):
        ids = [
            id_
            for piece in output[:length]
            for id_ in (
                map(CALL_BYTES.index, piece) if isinstance(piece, bytes) else [CALL_TOKENIZER.control_tokens[piece]]
            )
        ]
        assert split(CALL_TOKENIZER, ids, in_thinking=False) == oracle(output[:length], in_thinking=False)


def test_text_behind_a_string_that_was_never_closed_comes_before_the_end() -> None:
    """It comes as soon as it is clear that the rest is not JSON."""
    splitter = OutputSplitter(CALL_TOKENIZER, in_thinking=False)
    output: list[Item] = [CALL, b'{"a":"x', END_CALL, b'x"x']
    ids = [
        id_
        for piece in output
        for id_ in (
            map(CALL_BYTES.index, piece) if isinstance(piece, bytes) else [CALL_TOKENIZER.control_tokens[piece]]
        )
    ]
    assert [part for id_ in ids for part in splitter.push(id_)] == []
    quote, x = CALL_BYTES.index(ord('"')), CALL_BYTES.index(ord("x"))
    shown = [splitter.push(id_) for id_ in (quote, x)]
    assert shown == [[Part("tool_call", '{"a":"x')] + [Part("text", each) for each in 'x"x"'], [Part("text", "x")]]


def test_parts_come_as_soon_as_they_are_known() -> None:
    splitter = OutputSplitter(BYTE_TOKENIZER, in_thinking=False)
    output: list[Item] = [
        THINK,
        b"\n",
        b"a",
        b"\n",
        b"a",
        b"\n",
        END_THINK,
        b"\n",
        *(bytes([b]) for b in "👋".encode()),
        b"\n",
    ]
    ids = [BYTES.index(t[0]) if isinstance(t, bytes) else BYTE_TOKENIZER.control_tokens[t] for t in output]
    shown = ["".join(f"{part.kind[0]}:{part.text}" for part in splitter.push(id_)) for id_ in ids]
    assert shown == ["", "", "r:a", "", "r:\na", "", "", "", "", "", "", "t:👋", ""]
    assert splitter.finish() == [Part("text", "\n")]
    assert splitter.finish() == []


def test_state_is_known_while_streaming() -> None:
    splitter = OutputSplitter(BYTE_TOKENIZER, in_thinking=True)
    states = [(splitter.in_thinking, splitter.in_tool_call)]
    for control in (END_THINK, CALL, END_CALL, THINK):
        splitter.push(BYTE_TOKENIZER.control_tokens[control])
        states.append((splitter.in_thinking, splitter.in_tool_call))
    assert states == [(True, False), (False, False), (False, True), (False, False), (True, False)]


@pytest.mark.parametrize("in_thinking", [False, True])
def test_model_without_these_tokens_has_text_only(in_thinking: bool) -> None:
    bare = Tokenizer(trained(added=[]), {}, source="bare")
    text = "\n<think>\na\n</think>\n\n<tool_call>b</tool_call>👋\n"
    assert split(bare, bare.encode(text), in_thinking) == [("text", text)]


def test_spellings_in_plain_text_separate_nothing() -> None:
    tokenizer = Tokenizer(small(), CONFIG, source="small")
    text = "The tags <think> and </think>, <tool_call> and </tool_call>."
    assert split(tokenizer, tokenizer.encode(text), False) == [("text", text)]


def test_long_output_is_split_in_linear_time() -> None:
    """Counts the decoded bytes instead of seconds: each token's bytes are asked for once."""
    asked = 0

    class Counting(Tokenizer):
        def token_bytes(self, id_: int) -> bytes:
            nonlocal asked
            asked += 1
            return super().token_bytes(id_)

    tokenizer = Counting(small(), CONFIG, source="small")
    rng = random.Random(5)
    ids = [rng.choice([*range(40), tokenizer.think, tokenizer.end_think]) for _ in range(20_000)]
    split(tokenizer, [id_ for id_ in ids if id_ is not None], False)
    assert asked <= len(ids)
