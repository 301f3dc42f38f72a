"""Finds the tokens of a vocabulary by the bytes with which they begin."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class TokenBeginnings:
    """Finds tokens by bytes.

    Args:
        tokens: (id, bytes) of each. Tokens without bytes are left out.
    """

    def __init__(self, tokens: Iterable[tuple[int, bytes]]) -> None:
        pairs = sorted((spelling, id_) for id_, spelling in tokens if spelling)
        self._spellings = [spelling for spelling, _ in pairs]
        self._ids = np.array([id_ for _, id_ in pairs], dtype=np.intp)
        self.longest = max(map(len, self._spellings), default=0)
        """Bytes of the longest token."""

    def has_longer(self, beginning: bytes) -> bool:
        """Whether a longer token begins with these bytes."""
        place = bisect_right(self._spellings, beginning)
        return place < len(self._spellings) and self._spellings[place].startswith(beginning)

    def along(self, text: bytes) -> NDArray[np.intp]:
        """The ids of all tokens that begin with these bytes, or are a beginning of them."""
        # No token is longer, so every token that begins with the text is sorted before this.
        end = text + b"\xff" * (self.longest + 1)
        found = [self._ids[bisect_left(self._spellings, text) : bisect_left(self._spellings, end)]]
        for length in range(1, len(text)):
            beginning = text[:length]
            found.append(self._ids[bisect_left(self._spellings, beginning) : bisect_right(self._spellings, beginning)])
        return np.concatenate(found)
