"""Rows that are written once, and live rows that are rewritten."""

import io

from qwen3cpu.cli.chat.live_tail import LiveTail
from qwen3cpu.cli.chat.terminal_markdown import Row


def row(text):
    return Row(text, len(text))


def test_only_live_rows_are_written_anew():
    out = io.StringIO()
    tail = LiveTail(out)
    tail.show([row("done")], [row("a"), row("b")], 40, 10)
    assert out.getvalue() == "done\na\nb"
    tail.show([row("more")], [row("c")], 40, 10)
    assert out.getvalue() == "done\na\nb\r\x1b[1A\x1b[Jmore\nc"
    tail.show([], [], 40, 10)
    assert out.getvalue().endswith("c\r\x1b[J")
    tail.show([row("end")], [], 40, 10)
    assert out.getvalue().endswith("\x1b[Jend\n")


def test_more_live_rows_than_the_screen_has():
    out = io.StringIO()
    tail = LiveTail(out)
    tail.show([], [row(str(number)) for number in range(20)], 40, 5)
    assert out.getvalue() == "16\n17\n18\n19"
    tail.show([], [row("x" * 100)], 40, 3)  # three lines of the terminal, and it has room for two
    assert out.getvalue() == "16\n17\n18\n19\r\x1b[2A\x1b[J"


def test_rows_that_a_narrower_terminal_has_wrapped():
    out = io.StringIO()
    tail = LiveTail(out)
    tail.show([], [row("x" * 40), row("y" * 10)], 40, 10)
    tail.show([], [row("z")], 20, 10)
    assert out.getvalue().endswith("\r\x1b[2A\x1b[Jz")
