"""Markdown as rows of a terminal: words wrapped, the widths of all scripts right, no control characters."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from qwen3cpu.cli.chat.terminal_markdown import Screen

SCREEN = Screen("256")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def plain(source, columns=40):
    return [COLOURS.sub("", row.text) for row in SCREEN.markdown(source, columns)]


def test_words_are_wrapped():
    words = "The quick brown fox jumps over the lazy dog and goes home."
    assert plain(words, 20) == ["The quick brown fox", "jumps over the lazy", "dog and goes home."]


def test_a_line_ends_where_the_model_ended_it():
    assert plain("Roses are red,\nviolets are blue.") == ["Roses are red,", "violets are blue."]


def test_widths_of_cjk_and_emoji():
    rows = SCREEN.markdown("你好世界你好世界你好世界 🎉🎉🎉", 10)
    assert [row.cells for row in rows] == [10, 10, 4, 6]
    assert all(row.cells == cell_len(COLOURS.sub("", row.text)) for row in rows)


def test_a_table_has_straight_columns():
    rows = plain("| name | 数 |\n|---|--:|\n| 猫 🐈 | 1 |\n| dog | 22 |")
    found = [row for row in rows if row.rstrip().endswith(("1", "22"))]
    assert len({cell_len(row) for row in found}) == 1


def test_code_is_coloured_and_can_be_copied():
    rows = SCREEN.markdown("```python\ndef f():\n    return 1\n```", 40)
    assert [COLOURS.sub("", row.text) for row in rows] == ["  def f():", "      return 1"]
    assert "\x1b[" in rows[0].text


def test_what_is_not_markdown_here():
    assert plain("<b>bold</b> &amp; ![x](http://evil.example/y)", 80) == [
        "<b>bold</b> & !x (http://evil.example/y)",
    ]
    assert plain(r"\(a_1 * b_2\) and $x_i * y_i$ for $5", 80) == [r"\(a_1 * b_2\) and $x_i * y_i$ for $5"]
    assert plain(":smile: [bold]x[/bold]") == [":smile: [bold]x[/bold]"]


def test_links_tell_where_they_lead():
    assert plain("[here](http://a.example)") == ["here (http://a.example)"]


def test_a_numbered_item_by_itself_keeps_its_number():
    assert plain("7. seven") == [" 7 seven"]


@pytest.mark.parametrize(
    "source",
    [
        "\x1b]0;title\x07",
        "a\x9b2J",
        "`\x1b[2J`",
        "```\x1b[1m\n\x1b[2J\n```",
        "&#27;[2J",
        "[x](http://a/\x1b[2J)",
        "\x7f",
    ],
)
def test_no_text_steers_the_terminal(source):
    left = "".join(COLOURS.sub("", row.text) for row in SCREEN.markdown(source, 40))
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", left) is None
    assert "\x1b" not in "".join(row.text for row in SCREEN.dimmed(source, 40)).replace("\x1b[2m", "").replace(
        "\x1b[0m", ""
    )


@settings(max_examples=60)
@given(
    st.text(st.sampled_from("ab \n*_`#>-+1.|[]()!~$\\:<&;\t你🎉\x1b\x9b"), max_size=120),
    st.sampled_from([1, 10, 40]),
)
def test_anything_can_be_shown(source, columns):
    for row in SCREEN.markdown(source, columns):
        left = COLOURS.sub("", row.text)
        assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", left) is None
        assert row.cells == cell_len(left) <= max(columns, 10)
