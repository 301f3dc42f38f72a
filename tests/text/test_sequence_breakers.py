"""Tokens that complete a breaker, for any cut of the text into tokens."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3cpu.text.sequence_breakers import SequenceBreakers


class Pieces:
    """A tokenizer whose token i is the text i; the last one is a control token."""

    def __init__(self, *texts: str | bytes) -> None:
        self._texts = [text.encode() if isinstance(text, str) else text for text in texts]
        self.size = len(texts)
        self.control_tokens = {"": self.size - 1}

    def token_bytes(self, id_: int) -> bytes:
        assert 0 <= id_ < self.size
        return self._texts[id_]


def broken(breakers: list[str], *texts: str | bytes) -> list[bool]:
    """Whether each of the texts breaks, in order."""
    found = SequenceBreakers(breakers, Pieces(*texts, "<end>"))
    return [found.push(place) for place in range(len(texts))]


def test_a_breaker_may_stand_anywhere_in_a_token() -> None:
    assert broken(["\n", ":"], "a", "\n", " \n\n", "x:", ":x", "x") == [False, True, True, True, True, False]


def test_a_breaker_may_go_over_several_tokens() -> None:
    assert broken(["User:"], "Us", "er", ":", "User", ":", " x") == [False, False, True, False, True, False]
    assert broken(["aab"], "a", "a", "a", "b", "b") == [False, False, False, True, False]


def test_a_character_may_be_cut() -> None:
    assert broken(["é"], b"\xc3", b"\xa9", b"\xa9") == [False, True, False]


def test_breakers_may_overlap() -> None:
    assert broken(["aba"], "ab", "a", "ba") == [False, True, True]
    assert broken(["ab", "b"], "a", "b", "") == [False, True, False]


def test_control_tokens_break_and_part_what_they_stand_between() -> None:
    found = SequenceBreakers(["ab"], Pieces("a", "b", "<end>"))
    assert [found.push(token) for token in (0, 2, 1, 0, 1)] == [False, True, False, False, True]
    assert SequenceBreakers([], Pieces("a", "<end>")).push(1)


def test_ids_that_the_tokenizer_does_not_have_are_no_text() -> None:
    found = SequenceBreakers(["ab"], Pieces("a", "b", "<end>"))
    assert [found.push(token) for token in (0, 99, 1)] == [False, False, True]


def test_asking_changes_nothing() -> None:
    found = SequenceBreakers(["ab"], Pieces("a", "b", "<end>"))
    found.push(0)
    assert [found.breaks(token) for token in (0, 1, 2, 0, 1)] == [False, True, True, False, True]
    assert found.push(1)


@given(
    text=st.lists(st.text("ab:", max_size=3), max_size=12),
    breakers=st.lists(st.text("ab:", min_size=1, max_size=4), max_size=3),
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_cuts_equal_the_definition(text: list[str], breakers: list[str]) -> None:
    expected = []
    for place in range(len(text)):
        before, whole = "".join(text[:place]), "".join(text[: place + 1])
        ends = [whole[:end] for end in range(len(before) + 1, len(whole) + 1)]
        expected.append(any(end.endswith(breaker) for end in ends for breaker in breakers))
    assert broken(breakers, *text) == expected
