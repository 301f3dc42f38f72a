"""Drafts from the text itself: the tokens that followed an earlier occurrence of its last tokens may follow again.

Answers that rewrite, quote or list repeat long pieces of their prompt or of themselves. Finding the place takes
microseconds: all tokens are compared with the last one, and then only the few places that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.chances import Chances, chances_ahead, note_followed
from qwen3cpu.engine.drafts import Draft

LONGEST: Final = 16
"""Most tokens of a match that are compared; longer matches are not more reliable."""
NEAR: Final = 24
"""A place at most this many tokens from where the last draft would have continued counts as its continuation."""
_LENGTHS: Final = (1, 2, 3, 4, 6, 9, LONGEST)
"""Lower ends of the ranges of lengths for which chances are kept."""
_FAR: Final = (0.05, 0.2, 0.35, 0.5, 0.65, 0.75, 0.85)
_CONTINUED: Final = (0.4, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
_PLACES: Final = [sum(length >= each for each in _LENGTHS) - 1 for length in range(LONGEST + 1)]
_PRIOR_WEIGHT: Final = 3.0
_KEPT: Final = 0.97


def match_chances(guesses: Sequence[float]) -> Chances:
    """Make the table of how often drafted tokens are right, by the length of the match."""
    return Chances(guesses, lambda length: _PLACES[min(int(length), LONGEST)], weight=_PRIOR_WEIGHT, kept=_KEPT)


class NgramDrafter:
    """Proposes the tokens after the longest earlier match of the text's last tokens; of equally long ones the latest.

    After an edit the text often continues a few tokens after the place of the last draft. Such a place is preferred to
    other matches of the same length.
    """

    def __init__(self) -> None:
        self._text: NDArray[np.int32] = np.empty(256, np.int32)
        self._length = 0
        self._chances = match_chances(_FAR), match_chances(_CONTINUED)
        self._next: int | None = None
        """The place in the text where the last draft would have continued."""
        self._match = 0, False

    def extend(self, ids: Sequence[int]) -> None:
        """See Drafter."""
        length = self._length + len(ids)
        if length > len(self._text):
            longer = np.empty(2 * length, np.int32)
            longer[: self._length] = self._text[: self._length]
            self._text = longer
        self._text[self._length : length] = ids
        self._length = length

    def draft(self, most: int, found: float = 0) -> Draft:
        """See Drafter."""
        place, length, continued = self._find()
        if place is None:
            return Draft()
        self._match = length, continued
        self._next = place
        chances = chances_ahead(self._chances[continued], length, most)
        ids = self._text[place : min(place + len(chances), self._length)].tolist()
        while len(ids) < len(chances):  # the match overlaps the end of the text, so the draft is repeated
            ids += ids[: len(chances) - len(ids)]
        return Draft(ids, chances)

    def judge(self, tested: int, right: int) -> None:
        """See Drafter."""
        length, continued = self._match
        note_followed(self._chances[continued], length, tested, right)
        if self._next is not None:
            self._next += right

    def _find(self) -> tuple[int | None, int, bool]:
        """(where what follows begins, tokens that are equal before it, whether the last draft is continued)."""
        text, last = self._text[: self._length], self._length - 1
        if last < 1:
            return None, 0, False
        places = (text[:last] == text[last]).nonzero()[0]
        if not len(places):
            return None, 0, False
        length = 1
        while length < LONGEST and length <= last:
            longer = places[places >= length]
            longer = longer[text[longer - length] == text[last - length]]
            if not len(longer):
                break
            places, length = longer, length + 1
        if self._next is not None:
            near = places[np.abs(places + 1 - self._next) <= NEAR]
            if len(near):
                return int(near[np.argmin(np.abs(near + 1 - self._next))]) + 1, length, True
        return int(places[-1]) + 1, length, False
