"""Drafts from the text itself: the right place is found, and the chances follow the observations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qwen3cpu.engine.chances import LEAST_CHANCE
from qwen3cpu.engine.ngram_drafts import LONGEST, NEAR, NgramDrafter, match_chances

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def match_length(text, place):
    """How many tokens before a place are those at the end of the text."""
    length = 0
    while length < min(LONGEST, place) and text[place - 1 - length] == text[-1 - length]:
        length += 1
    return length


def best_place(text):
    """The latest place, before the end, that follows the longest match; None: the last token is new."""
    length, place = max((match_length(text, place), place) for place in range(len(text)))
    return place if length else None


@given(TEXTS, st.integers(1, 40), st.integers(1, 60))
def test_it_goes_on_as_after_the_longest_earlier_match(text, most, cut):
    drafter = NgramDrafter()
    for first in range(0, len(text), cut):
        drafter.extend(text[first : first + cut])
    draft = drafter.draft(most)
    place = best_place(text)
    if place is None:
        assert not draft.ids
        return
    whole = list(text)
    while len(whole) < len(text) + most:  # drafted tokens may follow themselves
        whole.append(whole[place + len(whole) - len(text)])
    count = len(draft.ids)
    assert list(draft.ids) == whole[len(text) : len(text) + count]
    assert len(draft.chances) == count <= most
    assert all(0 < chance < 1 for chance in draft.chances)
    assert np.prod(draft.chances) >= LEAST_CHANCE  # it ends where the chance is too small


def test_a_long_text_grows_beyond_the_first_room():
    drafter = NgramDrafter()
    text = [n % 997 for n in range(3000)]
    for token in text:
        drafter.extend([token])
    assert list(drafter.draft(5).ids) == [n % 997 for n in range(3000, 3005)]


def test_after_an_edit_the_text_goes_on_where_the_last_draft_came_from():
    # 7 comes after 1 2 3, and again much later. After the edit 99, both places match in 7 only.
    source = [1, 2, 3, 7, 4, 5, 6, *range(20, 20 + 2 * NEAR), 7, 8, 9, 10]
    drafter = NgramDrafter()
    drafter.extend([*source, 50, 1, 2, 3])
    assert list(drafter.draft(4).ids) == [7, 4, 5, 6]
    drafter.judge(4, 0)
    drafter.extend([99, 7])
    assert list(drafter.draft(3).ids) == [4, 5, 6]
    fresh = NgramDrafter()
    fresh.extend([*source, 50, 1, 2, 3, 99, 7])
    assert list(fresh.draft(3).ids) == [8]  # and with a small chance


def test_chances_follow_what_happens():
    drafter = NgramDrafter()
    drafter.extend([1, 2, 3, 4, 5, 6, 1, 2, 3])
    first = drafter.draft(3).chances
    for _ in range(30):
        drafter.draft(3)
        drafter.judge(3, 0)
    low = drafter.draft(3).chances
    assert low[0] < 0.1 < first[0]
    for _ in range(60):
        drafter.draft(3)
        drafter.judge(3, 3)
    assert drafter.draft(3).chances[0] > 0.8


def test_a_wrong_token_says_nothing_of_those_behind_it():
    drafter = NgramDrafter()
    drafter.extend([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3])
    drafter.draft(4)
    before = drafter.draft(4).chances  # as for a text that continues the last draft
    drafter.judge(4, 1)  # the first was right, the second wrong
    after = drafter.draft(4).chances
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert tuple(after[3:]) == tuple(before[3:])


def test_chances_begin_as_guessed():
    chances = match_chances([0.1 * each for each in range(1, 8)])
    assert abs(chances[1] - 0.1) < 1e-12
    assert abs(chances[5] - 0.4) < 1e-12
    assert abs(chances[1000] - 0.7) < 1e-12


def test_one_token_has_no_earlier_place():
    drafter = NgramDrafter()
    assert drafter.draft(3).ids == ()
    drafter.extend([5])
    assert drafter.draft(3).ids == ()
