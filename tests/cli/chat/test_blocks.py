"""Markdown that is still being written: each complete block comes once, and together they are the whole text."""

import pytest

from qwen3cpu.cli.chat.blocks import LONGEST_CODE, LONGEST_PARAGRAPH, Blocks

TEXT = """# Title

A paragraph
of two lines.

1. one
2. two
   - inside
   - inside too

   still two
3. three

| a | b |
|---|---|
| 1 | 2 |

```python
def f():

    return 1
```

> quoted

end
"""
EXPECTED = [
    ("# Title\n\n", False),
    ("A paragraph\nof two lines.\n\n", False),
    ("1. one\n", False),
    ("2. two\n   - inside\n   - inside too\n\n   still two\n", True),
    ("3. three\n\n", True),
    ("| a | b |\n|---|---|\n| 1 | 2 |\n\n", False),
    ("```python\ndef f():\n\n    return 1\n```\n\n", False),
    ("> quoted\n\n", False),
    ("end\n", False),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_blocks_come_once_however_the_text_comes(size):
    blocks, taken = Blocks(), []
    for start in range(0, len(TEXT), size):
        blocks.add(TEXT[start : start + size])
        taken += blocks.take()
    assert [*taken, blocks.rest()] == EXPECTED
    blocks.end()
    assert blocks.rest() is None


def test_the_last_block_may_still_change():
    blocks = Blocks()
    blocks.add("a heading\n")
    assert blocks.take() == []
    blocks.add("===\n\nx")
    assert blocks.take() == [("a heading\n===\n\n", False)]
    assert blocks.rest() == ("x", False)


def test_code_without_end_is_cut_at_an_empty_line():
    blocks = Blocks()
    lines = [f"line {number}\n" if number != 25 else "\n" for number in range(LONGEST_CODE)]
    blocks.add("```py\n" + "".join(lines))
    assert blocks.take() == []
    blocks.add("more\n")
    (head,) = blocks.take()
    assert head == ("```py\n" + "".join(lines[:26]) + "```\n", False)
    assert blocks.rest() == ("```py\n" + "".join(lines[26:]) + "more\n", True)
    blocks.add("```\nafter")
    assert blocks.take() == [("```py\n" + "".join(lines[26:]) + "more\n```\n", True)]
    assert blocks.rest() == ("after", False)


@pytest.mark.parametrize("text", ["- ```\n" + "  x\n" * 99, "~~~\n" + "x\n" * 60 + "~~~", "   ```\n" + "   x\n" * 60])
def test_code_that_is_not_cut(text):
    blocks = Blocks()
    blocks.add(text)
    assert blocks.take() == []
    assert blocks.rest() == (text, False)


@pytest.mark.parametrize(
    ("mark", "cut"),
    [("\n", 5001), (". ", 5002), (" ", 5001), ("x", LONGEST_PARAGRAPH * 3 // 4)],
)
def test_a_paragraph_without_end_is_cut(mark, cut):
    blocks = Blocks()
    text = ("x" * 5000 + mark).ljust(LONGEST_PARAGRAPH, "x")
    blocks.add(text)
    assert blocks.take() == []
    blocks.add("end")
    assert blocks.take() == [(text[:cut], False)]
    assert blocks.rest() == (text[cut:] + "end", True)
