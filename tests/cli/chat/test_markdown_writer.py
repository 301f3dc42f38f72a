"""An answer on a terminal: frames, thinking that is folded, blocks that are written once."""

import io
import os
import re

import pytest

from qwen3cpu.cli.chat.markdown_writer import FRAME, MarkdownWriter
from qwen3cpu.generation.results import Chunk
from qwen3cpu.text.tool_calls import ToolCall

SEQUENCES = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """Records the output of a writer, with a clock and a size that the test sets."""

    def __init__(self, columns=40, lines=20, **options):
        self.out, self.now, self.size = io.StringIO(), 0.0, os.terminal_size((columns, lines))
        self.writer = MarkdownWriter(self.out, clock=lambda: self.now, size=lambda: self.size, **options)

    def write(self, text="", reasoning="", calls=(), later=FRAME):
        self.now += later
        self.writer.write(Chunk(text, reasoning, calls, token_ids=(1,)))

    @property
    def seen(self):
        """All that was written, without colours."""
        return SEQUENCES.sub("", self.out.getvalue())

    def end(self):
        """The end of the screen: the output after the last rows were erased."""
        self.writer.end()
        return self.seen


def test_complete_blocks_are_written_once():
    screen = Screen()
    for piece in ("one\n\n", "two\n\n", "three"):
        screen.write(piece)
    assert screen.seen == "one\r\x1b[Jone\n\ntwo\r\x1b[1A\x1b[J\ntwo\n\nthree"
    assert screen.end().endswith("\r\x1b[1A\x1b[J\nthree\n")


def test_items_of_a_list_stand_together():
    screen = Screen()
    for piece in ("- a\n", "- b\n", "- c\n", "\nend"):
        screen.write(piece)
    screen.end()
    shown = [each.split("\n") for each in re.split(r"\r(?:\x1b\[\d+A)?\x1b\[J", screen.seen)]
    assert shown == [
        [" • a"],
        [" • a", " • b"],
        [" • b", " • c"],
        [" • c", "", "end"],
        ["", "end", ""],
    ]


def test_frames_are_not_more_than_so_many_a_second():
    screen = Screen()
    screen.write("a")
    for _ in range(10):
        screen.write("b", later=FRAME / 20)
    assert screen.seen == "a"
    screen.write("c")
    assert screen.seen == "a\r\x1b[Ja" + "b" * 10 + "c"


def test_thinking_is_shown_and_then_folded():
    screen = Screen()
    screen.write(reasoning="let me ")
    screen.write(reasoning="see")
    assert "let me see" in screen.seen
    screen.write("Yes.", later=1.0)
    assert screen.end().endswith("Thought for 1.1 s, 3 tokens.\n\nYes.\r\x1b[1A\x1b[J\nYes.\n")


def test_thinking_takes_a_part_of_the_screen():
    screen = Screen(lines=6)
    for number in range(30):
        screen.write(reasoning=f"step {number}\n")
    last = screen.seen.rpartition("\x1b[J")[2].split("\n")
    assert last == ["Thinking, 30 tokens ...", "step 27", "step 28", "step 29"]


@pytest.mark.parametrize(("show", "expected"), [(True, True), (False, False)])
def test_thinking_by_the_flag(show, expected):
    screen = Screen(show_thinking=show)
    screen.write(reasoning="first\nsec")
    screen.write(reasoning="ond")
    screen.write("So.")
    end = screen.end()
    assert ("first\n" in end, "second" in end) == (expected, expected)
    assert "Thought for" in end


def test_calls_are_told():
    screen = Screen()
    screen.write("I ask.\n\n")
    screen.write(calls=(ToolCall("add", {"a": 1, "b": "\x1b"}),))
    assert 'I ask.\n\n[call] add(a=1, b="\\u001b")' in screen.end()


def test_an_answer_that_was_stopped_in_its_thinking():
    screen = Screen()
    screen.write(reasoning="hm")
    assert screen.end().endswith("Thought for 0.0 s, 1 tokens.\n")


def test_an_empty_answer():
    assert Screen().end() == ""


def test_another_size_while_it_comes():
    screen = Screen(columns=40)
    screen.write("aaaa bbbb cccc dddd eeee ffff gggg")
    screen.size = os.terminal_size((20, 20))
    screen.write(" hhhh")
    # The terminal has wrapped the row to two lines, and both are erased.
    assert screen.seen.endswith("\r\x1b[1A\x1b[Jaaaa bbbb cccc dddd\neeee ffff gggg hhhh")
