"""Drafts from kept texts: the tokens that follow an answer's last tokens in one of them may follow in the answer too.

The positions of all texts are sorted by the tokens before them, the nearest first. So the places that an answer's end
matches best are neighbours, and one binary search finds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.chances import chances_ahead, note_followed
from qwen3cpu.engine.drafts import Draft
from qwen3cpu.engine.ngram_drafts import LONGEST, NEAR, match_chances

GAP: Final = -1
"""Separates two texts."""
LOOKED_AT: Final = 8
"""Sorted places that are looked at on either side of the answer's end. The draft begins with the most common next token
of the best matches among them."""
_FAR: Final = (0.02, 0.1, 0.25, 0.4, 0.55, 0.65, 0.8)
_CONTINUED: Final = (0.3, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9)


def sorted_places(tokens: NDArray[np.int32], advance: Callable[[], None] = lambda: None) -> NDArray[np.int32]:
    """Sort the positions of texts that have a token before them by the tokens before them; equal ones keep their order.

    Args:
        tokens: int32 [n], of texts one after the other with a GAP between two.
        advance: called four times, after equal parts of the work.

    Returns:
        int32 [at most n]. Only the LONGEST nearest tokens before a position are compared.
    """
    count = len(tokens)
    rank = np.full(count, GAP - 1, np.int64)
    rank[1:] = tokens[:-1]
    rank -= GAP - 1
    order = np.arange(count)
    reach = 1
    while reach < LONGEST:
        nearer, farther = rank, np.zeros(count, np.int64)
        farther[reach:] = rank[:-reach] if reach < count else rank[:0]
        key = nearer * (int(rank.max(initial=0)) + 1) + farther
        order = np.argsort(key, kind="stable")
        key = key[order]
        rank = np.empty(count, np.int64)
        rank[order] = np.concatenate([[0], np.cumsum(key[1:] != key[:-1])]) if count else order
        reach *= 2
        advance()
    before = np.concatenate([[GAP], tokens[:-1]]) if count else tokens
    kept: NDArray[np.int32] = order[(tokens[order] != GAP) & (before[order] != GAP)].astype(np.int32)
    return kept


class TextDrafts:
    """The kept texts, for all answers of a model.

    Args:
        tokens: int32 [n], as for `sorted_places`; may be a map of a file.
        places: the result of `sorted_places`.
        usable: whether the arrays can still be read.
    """

    def __init__(
        self, tokens: NDArray[np.int32], places: NDArray[np.int32], usable: Callable[[], bool] = lambda: True
    ) -> None:
        self.tokens = tokens
        self.places = places
        self.usable = usable

    def drafter(self) -> TextDrafter:
        """Make the drafter of a new answer."""
        return TextDrafter(self)

    def before(self, place: int) -> list[int]:
        """The tokens before a position, the nearest first, at most LONGEST."""
        found: list[int] = self.tokens[max(0, place - LONGEST) : place].tolist()
        return found[::-1]


class TextDrafter:
    """Proposes the tokens that follow the longest match with the answer's end in the kept texts.

    Of equally long matches, the one that continues the last draft is taken, or else one with the most common next
    token.
    """

    def __init__(self, texts: TextDrafts) -> None:
        self._texts = texts
        self._end: list[int] = []
        """The last tokens of the text, the latest first."""
        self._next: int | None = None
        """The place where the last draft would have continued."""
        self._match = 0, False
        self._chances = match_chances(_FAR), match_chances(_CONTINUED)

    def extend(self, ids: Sequence[int]) -> None:
        """See Drafter."""
        self._end = [*reversed(ids[-LONGEST:]), *self._end][:LONGEST]

    def draft(self, most: int, found: float = 0) -> Draft:
        """See Drafter."""
        texts = self._texts
        if not self._end or not len(texts.places) or not texts.usable():
            return Draft()
        place, length, continued = self._find()
        if not length:
            return Draft()
        self._match, self._next = (length, continued), place
        chances = chances_ahead(self._chances[continued], length, most)
        ids = texts.tokens[place : place + len(chances)].tolist()
        if GAP in ids:
            del ids[ids.index(GAP) :]
        return Draft(ids, chances[: len(ids)])

    def judge(self, tested: int, right: int) -> None:
        """See Drafter."""
        length, continued = self._match
        note_followed(self._chances[continued], length, tested, right)
        if self._next is not None:
            self._next += right

    def _find(self) -> tuple[int, int, bool]:
        """(where what follows begins, tokens that are equal before it, whether the last draft is continued)."""
        near, length = self._near()
        if length == LONGEST:
            return near, length, True
        tokens, places = self._texts.tokens, self._texts.places
        own = self._own_place()
        around = places[max(0, own - LOOKED_AT) : own + LOOKED_AT].astype(np.intp)
        lengths = self._in_common(around)
        longest = int(lengths.max())
        if length and length >= longest:
            return near, length, True
        best = around[lengths == longest].tolist()
        follows = tokens[best].tolist()
        likeliest = Counter(follows).most_common(1)[0][0]
        return best[follows.index(likeliest)], longest, False

    def _own_place(self) -> int:
        """The index among the sorted places where the end of the text belongs."""
        before, places, end = self._texts.before, self._texts.places, self._end
        low, high = 0, len(places)
        while low < high:
            middle = (low + high) // 2
            if before(int(places[middle])) < end:
                low = middle + 1
            else:
                high = middle
        return low

    def _near(self) -> tuple[int, int]:
        """(where the text may go on, near the end of the last draft; equal tokens before that place, or 0 for none)."""
        if self._next is None:
            return 0, 0
        tokens, first = self._texts.tokens, max(0, self._next - NEAR - 1)
        after = (tokens[first : self._next + NEAR] == self._end[0]).nonzero()[0] + first + 1
        after = after[after < len(tokens)]
        if not len(after):
            return 0, 0
        place = after[np.argmin(np.abs(after - self._next))]
        return int(place), int(self._in_common(place[None])[0])

    def _in_common(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """How many tokens before each of these places are those of the end: [len(places)]."""
        end = np.array(self._end)
        before = places[:, None] - np.arange(1, len(end) + 1)
        equal = (self._texts.tokens[np.maximum(before, 0)] == end) & (before >= 0)
        return np.where(equal.all(axis=1), len(end), equal.argmin(axis=1))
