"""Texts are split at headings, blank lines, lines and sentences; nothing is lost, and line numbers are right."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3cpu.search.passages import MOST_CHARACTERS, passages

PARAGRAPH = "The sky is blue. " * 20  # 340 characters


def letters(text):
    return re.sub(r"\s+", "", text)


def test_paragraphs_stay_together_while_they_fit():
    found = passages(f"{PARAGRAPH}\n\n{PARAGRAPH}\n\n\n{PARAGRAPH}\n\nEnd\n")
    assert [(each.line, each.text.count("\n\n")) for each in found] == [(1, 1), (6, 1)]
    assert passages("one\n\ntwo\n") == [("one\n\ntwo", 1)]
    assert passages("") == passages(" \n\t\n") == []


def test_a_heading_begins_a_passage_and_stays_with_what_follows():
    text = "before\n\n# Sky\n\nblue\n\n## Night\n### Stars\n\nbright\n\n```\n# no heading\n```\n"
    found = passages(text, markdown=True)
    assert [each.text.split("\n")[0] for each in found] == ["before", "# Sky", "## Night"]
    assert [each.line for each in found] == [1, 3, 7]
    assert "# no heading" in found[2].text
    assert len(passages(text)) == 1


def test_long_paragraphs_are_cut_at_lines_and_long_lines_at_sentences():
    lines = passages("\n".join(f"line {number} of many" for number in range(200)))
    starts = [1 + sum(other.text.count("\n") + 1 for other in lines[:place]) for place in range(len(lines))]
    assert [each.line for each in lines] == starts
    sentences = passages("One thing is this. " * 200)
    assert all(each.text.endswith("this.") and each.line == 1 for each in sentences)
    words = passages("word " * 1000)
    assert all(each.text.startswith("word") and each.text.endswith("word") for each in words)
    chinese = passages("天空是蓝色的。" * 400)
    assert all(each.text.endswith("。") for each in chinese)


def test_definitions_in_code_rather_begin_a_passage():
    body = "".join(f"    step_{number}()\n\n" for number in range(45))
    found = passages(f"def first():\n{body}def second():\n    pass\n")
    assert [each.text.split("\n")[0] for each in found] == ["def first():", "def second():"]
    assert found[1].line == 92


@given(st.text(st.sampled_from("ab .!\n\t# é。`"), max_size=400), st.booleans(), st.integers(1, 60))
def test_nothing_is_lost_and_nothing_is_too_long(text, markdown, most):
    found = passages(text, markdown=markdown, most=most)
    assert letters("".join(each.text for each in found)) == letters(text)
    assert all(len(each.text) <= most for each in found)
    lines = text.splitlines()
    for each in found:
        assert each.text.strip()
        assert letters(each.text.split("\n")[0]) in letters(lines[each.line - 1])


@pytest.mark.parametrize("size", [MOST_CHARACTERS - 1, MOST_CHARACTERS, MOST_CHARACTERS + 1])
def test_the_limit(size):
    assert len(passages("x" * size)) == (1 if size <= MOST_CHARACTERS else 2)
