"""Stop strings over text that arrives in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3cpu.text.stop_strings import StopMatcher


def cut_at(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The definition: read character by character until the text so far ends with a stop string."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


def feed(pieces: list[str], stops: list[str]) -> tuple[list[str], str | None]:
    matcher = StopMatcher(stops)
    shown = [matcher.push(piece) for piece in pieces]
    return [*shown, matcher.flush()], matcher.matched


small_text = st.text(alphabet="ab\n", max_size=12)
stop_lists = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), min_size=1, max_size=3)


@given(st.lists(small_text, max_size=6), stop_lists)
def test_any_cut_of_a_text_gives_what_reading_it_by_character_gives(pieces, stops):
    shown, matched = feed(pieces, stops)
    assert ("".join(shown), matched) == cut_at("".join(pieces), stops)


@given(st.lists(small_text, max_size=6), stop_lists)
def test_text_is_held_back_only_while_it_may_still_become_a_stop_string(pieces, stops):
    matcher = StopMatcher(stops)
    so_far, shown = "", ""
    for piece in pieces:
        so_far += piece
        shown += matcher.push(piece)
        if matcher.matched is not None:
            return
        held = so_far[len(shown) :]
        assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)


@pytest.mark.parametrize(
    ("pieces", "shown", "matched"),
    [
        (["one END two"], ["one ", ""], "END"),
        (["one E", "N", "D two"], ["one ", "", "", ""], "END"),
        (["one E", "N", "d"], ["one ", "", "ENd", ""], None),
        (["one E"], ["one ", "E"], None),
        (["EN", "EN", "D"], ["", "EN", "", ""], "END"),
    ],
)
def test_pieces(pieces, shown, matched):
    assert feed(pieces, ["END"]) == (shown, matched)


def test_of_two_that_end_together_the_longer_one_is_cut_off():
    assert feed(["xaab"], ["b", "ab", "aab"]) == (["x", ""], "aab")


def test_nothing_follows_a_match():
    matcher = StopMatcher(["."])
    assert matcher.push("a.b") == "a"
    assert matcher.push("c") == ""
    assert matcher.flush() == ""
