"""How many drafted tokens each answer feeds: no other choice makes the batch faster."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3cpu.engine.pass_times import PassTimes
from qwen3cpu.generation.draft_shares import share_out_drafts

CHANCES = st.lists(st.lists(st.floats(0.0, 1.0), max_size=4), min_size=1, max_size=3)


class Linear(PassTimes):
    """Each further token costs the same."""

    def __init__(self, each):
        super().__init__()
        self._each = each

    def __getitem__(self, tokens):
        return 1 + self._each * (tokens - 1)


def speed(counts, chances, tokens, times):
    """Expected tokens per time of a pass over one token."""
    expected = float(len(chances))
    for count, each in zip(counts, chances, strict=True):
        right = 1.0
        for chance in each[:count]:
            right *= chance
            expected += right
    return expected / times[tokens + sum(counts)]


@given(CHANCES, st.sampled_from([0.0, 0.05, 0.3, 1.0]), st.integers(0, 3))
def test_no_other_choice_is_faster(chances, each, more):
    times, tokens = Linear(each), len(chances) + more
    counts = share_out_drafts(tokens, chances, times)
    best = max(
        speed(other, chances, tokens, times)
        for other in itertools.product(*(range(len(draft) + 1) for draft in chances))
    )
    assert speed(counts, chances, tokens, times) == pytest.approx(best)


def test_many_answers_leave_no_room_for_guesses():
    times = Linear(0.5)  # limited by computation: each token costs half a pass
    assert share_out_drafts(16, [[0.3] * 8] * 16, times) == [0] * 16
    assert share_out_drafts(1, [[0.95] * 8], Linear(0.05)) == [8]
