"""Patterns of JSON schemas: the same matches as the standard library's, in a bounded number of steps."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3cpu.text.patterns import Budget, UncheckedPatternError, search

ATOMS = [
    *("a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\W", r"\b", r"\B", "^", "$", r"\s", r"\S", r"\A", r"\Z", "é"),
    *("(?=a)", "(?!b)", "(?<=a)", "(?<!b)", r"[a-c\d]", r"[^\w]", "(?i:A)", "(?s:.)", "(?m:^)", "(?m:$)", r"(?a:\w)"),
    "(|a)",
]
REPEATS = ["", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "??", "{0}"]
terms = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.builds(
        lambda first, second, repeat, join: f"({first}{join}{second}){repeat}",
        inner, inner, st.sampled_from(REPEATS), st.sampled_from(["", "|"]),
    ),
    max_leaves=5,
)  # fmt: skip


@given(st.lists(st.tuples(terms, st.sampled_from(REPEATS)), max_size=3), st.text("abcA1é \n_", max_size=6))
def test_matches_are_those_of_re(parts, text):
    pattern = "".join(f"(?:{term}){repeat}" for term, repeat in parts)
    assert search(pattern, text, Budget(1_000_000)) is (re.search(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(a+)+$", "a" * 5000 + "!"),
        ("^(a|a)*$", "a" * 5000 + "!"),
        ("^([a-zA-Z0-9])(([\\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}$", "a" * 5000),
        ("(x+x+)+y", "x" * 5000),
        ("^(?:(?:a*)*)*$", "a" * 5000 + "!"),
        ("^(a?){200}a{200}$", "a" * 199),
        ("\\s+$", " " * 5000 + "a"),
    ],
)
def test_no_pattern_takes_more_than_a_few_steps_for_each_character(pattern, text):
    assert not search(pattern, text, Budget(900 * len(text)))
    with pytest.raises(UncheckedPatternError, match="too many steps"):
        search(pattern, text, Budget(len(text) // 2))


def test_looking_ahead_counts_too():
    pattern = "(?=a*b)" * 3
    with pytest.raises(UncheckedPatternError, match="too many steps"):
        search(pattern, "a" * 5000, Budget(100_000))
    assert search(r"^(?=.*\d)(?=.*[a-z])(?!.*\s).{8,}$", "passw0rds", Budget(10_000))
    assert not search(r"^(?=.*\d)(?=.*[a-z])(?!.*\s).{8,}$", "pass w0rds", Budget(10_000))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"(a)\1", "groupref cannot be checked"),
        ("^(.{0,1000}){0,1000}x$", "more than 20000 states"),
        ("a{99999999999999999999}", "no regular expression known here"),
        ("(" * 20_000, "no regular expression known here"),
        ("(a", "no regular expression known here"),
        (r"\p{Script=Greek}", "the Unicode property 'Script=Greek' is unknown here"),
        (r"\u{110000}", "is no character"),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_checked_says_why(pattern, words):
    for _ in range(2):
        with pytest.raises(UncheckedPatternError, match=words):
            search(pattern, "aa", Budget(1000))


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\p{L}+$", "Straße東", "a1"),
        (r"^[\p{Lu}\d-]+$", "AB-9É", "aB"),
        (r"^\P{Nd}$", "x", "٣"),
        (r"^\p{Letter}\p{gc=Nd}$", "é٣", "1a"),
        (r"^\u{1F600}$", "😀", "😁"),
        (r"^(?<year>\d{4})\/(?<month>\d\d)$", "2026/11", "2026-11"),
        (r"^(?<=^)\p{L}(?<!b)$", "a", "b"),
    ],
)
def test_syntax_of_ecmascript(pattern, good, bad):
    assert search(pattern, good, Budget(1000))
    assert not search(pattern, bad, Budget(1000))
