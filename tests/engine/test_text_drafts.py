"""Drafts from kept texts: the places are sorted correctly, and the longest match is found among them."""

import random

import numpy as np
import pytest

from qwen3cpu.engine.ngram_drafts import LONGEST
from qwen3cpu.engine.text_drafts import GAP, TextDrafts, sorted_places


def backwards(tokens, place):
    return tokens[max(0, place - LONGEST) : place][::-1]


def joined(*texts):
    return np.array([token for text in texts for token in (*text, GAP)], np.int32)


@pytest.mark.parametrize("kinds", [1, 2, 5, 1000])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 17, 400])
def test_places_are_sorted_by_the_tokens_before_them(kinds, size):
    rng = random.Random(size * kinds)
    tokens = [GAP if rng.random() < 0.05 else rng.randrange(kinds) for _ in range(size)]
    places = [place for place in range(1, size) if tokens[place] != GAP and tokens[place - 1] != GAP]
    expected = sorted(places, key=lambda place: backwards(tokens, place))
    rounds = []
    found = sorted_places(np.array(tokens, np.int32), lambda: rounds.append(1))
    assert found.tolist() == expected
    assert found.dtype == np.int32
    assert len(rounds) == 4


def drafter(*texts):
    tokens = joined(*texts)
    return TextDrafts(tokens, sorted_places(tokens)).drafter()


def test_the_longest_match_is_found():
    """Compared with a simple loop over all places."""
    rng = random.Random(3)
    texts = [[rng.randrange(6) for _ in range(150)] for _ in range(3)]
    tokens = joined(*texts).tolist()
    for _ in range(300):
        end = [rng.randrange(6) for _ in range(rng.randrange(1, 30))]
        made = drafter(*texts)
        made.extend(end)
        draft = made.draft(1)
        lengths = {}
        for place in range(1, len(tokens)):
            if tokens[place] != GAP:
                length = 0
                while length < min(LONGEST, place, len(end)) and tokens[place - 1 - length] == end[-1 - length]:
                    length += 1
                lengths[place] = length
        longest = max(lengths.values())
        follows = {tokens[place] for place, length in lengths.items() if length == longest}
        assert made._match == (longest, False)
        assert not draft.ids or draft.ids[0] in follows


def test_what_follows_most_often_is_drafted():
    made = drafter([1, 2, 3, 4, 9], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [7, 1, 2, 3, 4, 8])
    made.extend([6, 1, 2, 3, 4])
    assert made.draft(1).ids == [5]


def test_a_draft_ends_with_its_text():
    made = drafter(range(20, 40), range(50, 60))
    made.extend(range(20, 36))
    assert made.draft(30).ids == [36, 37, 38, 39]


def test_an_edit_does_not_lose_the_place():
    text = [
        *range(100),
        *range(40),
        *range(200, 240),
    ]  # 39 is followed by 40, and by 200
    made = drafter(text, list(range(100)))
    made.extend([1000, *range(20, 30)])
    first = made.draft(4)
    assert first.ids == [30, 31, 32, 33]
    made.judge(4, 4)
    made.extend([30, 31, 32, 33, 777])  # another word
    made.draft(4)
    made.judge(0, 0)
    made.extend([35])
    assert made.draft(2).ids == [36, 37]
    assert made._match[1]


def test_nothing_is_drafted_from_nothing():
    for made in (drafter(), drafter([5]), drafter([5, 6])):
        assert made.draft(4).ids == ()
        made.extend([1, 2])
        assert list(made.draft(4).ids) == []


def test_what_cannot_be_read_any_more_is_not_read():
    tokens = joined(range(50))
    usable = [True]
    made = TextDrafts(tokens, sorted_places(tokens), lambda: usable[0]).drafter()
    made.extend(range(20))
    assert len(made.draft(4).ids) == 4
    usable[0] = False
    assert made.draft(4).ids == ()


def test_guesses_that_are_wrong_are_made_less_often():
    made = drafter([1, 2, 3, 4, 5] * 20)
    made.extend([1, 2])
    before = made.draft(8).expected
    for _ in range(40):
        made.draft(8)
        made.judge(8, 0)
    assert made.draft(8).expected < before / 5
