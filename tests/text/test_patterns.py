"""Patterns of JSON schemas: the same matches as the standard library's, in a bounded number of steps."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3cpu.text.pattern_syntax import UncheckedPatternError
from qwen3cpu.text.patterns import Budget, search
from qwen3cpu.text.schemas.patterns import found_in, translated

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
    # Python's $ also matches before a last line break; \Z has the meaning that $ has here.
    theirs = pattern.replace("(?m:$)", "(?m:<end>)").replace("$", r"\Z").replace("<end>", "$")
    assert search(pattern, text, Budget(1_000_000)) is (re.search(theirs, text) is not None)


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
        ("a{99999999999999999999}", "not a supported regular expression"),
        ("(" * 20_000, "not a supported regular expression"),
        ("(a", "not a supported regular expression"),
        (r"\p{Script=Greek}", "the Unicode property 'Script=Greek' is not supported"),
        (r"\u{110000}", "is not a character"),
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
        ("^a{,3}$", "a{,3}", "aaa"),
        (r"^\cJ\x41$", "\nA", "JA"),
        ("^[a&&b]+$", "a&b", "c"),
        ("^[[a]+$", "[a", "]"),
        ("^[|~~]+$", "|~", "a"),
        ("^[+--]+$", "+,-", "a"),
        ("^[--]$", "-", "a"),
        (r"^[\]]$", "]", "a"),
        ("a$", "ba", "a\n"),
        ("^[^]$", "\n", ""),
        ("^a|[]b", "a", "b"),
        (r"^\ud83d\ude00[\ud83d\ude01]$", "😀😁", "😀"),
        (r"^\e\z", "\x1b", "e"),
        (r"^[\u{5d}\u{2d}]+$", "]-", "a"),
    ],
)
def test_syntax_of_ecmascript(pattern, good, bad):
    assert search(pattern, good, Budget(1000))
    assert not search(pattern, bad, Budget(1000))


@pytest.mark.parametrize(
    "pattern", ["^(a|b)*$", r"^\d{2,3}$", "[^a]", "a{,3}", r"\cJ", "^[a&&b]+$", "^[[]$", "(?<n>a)b", "x{y}", "^$"]
)
@pytest.mark.parametrize("text", ["", "ab", "12", "1234", "\n", "&", "[", "x{y}", "a{,3}", 'a"\\'])
def test_patterns_mean_what_ecmascript_says(pattern, text):
    """Compared with Python's, where both have the same meaning."""
    known = (
        pattern.replace("(?<", "(?P<")
        .replace(r"\cJ", "\\n")
        .replace("a{,3}", r"a\{,3}")
        .replace("[[]", r"[\[]")
        .replace("&&", "&")
    )
    assert search(pattern, text, Budget(10_000)) is bool(re.search(known.replace("$", r"\Z"), text))


@pytest.mark.parametrize(
    "pattern", [r"(?=a)", r"(?<!a)b", r"\bx", r"(a)\1", "^(a{0,100}){0,100}$", "a" * 5000, "\ud800"]
)
def test_patterns_without_an_equivalent(pattern):
    assert translated(pattern) is None


@pytest.mark.parametrize("pattern", ["[a&&b]", "[[a]", "[a||b]", "[~~]", "[--a]", "[+--]", "[]a]", "[^]a]"])
def test_no_pattern_makes_the_parser_warn(pattern):
    """Warnings are errors in these tests, so the pattern would count as not supported."""
    assert search(pattern, "a]", Budget(1000)) in (True, False)


def test_what_cannot_be_told_is_none():
    assert found_in("^(a+)+$", "a" * 26 + "!", Budget(1000)) is False
    assert found_in(r"(a)\1", "aa", Budget(1000)) is None
    assert found_in("a", "b" * 100, Budget(10)) is None
