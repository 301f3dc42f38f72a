"""The drafts of one answer: chooses among its drafters, and cuts a draft that its grammar forbids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qwen3cpu.engine.drafts import MOST_DRAFTED, Draft, Drafter
from qwen3cpu.generation.token_masks import Constraint
from qwen3cpu.text.token_ids import check_ids

_FORCED: Final = 0.9
"""How likely the model writes a text that the grammar fixes with the same tokens that the grammar proposes."""


class Speculation:
    """Drafts for one answer.

    Args:
        drafters: asked in order, the fastest ones first. The draft with the most expected tokens is taken.
        vocab_size: drafted ids lie below it.
        texts: token ids of texts that look like the answer.
        prompt: token ids.
    """

    def __init__(
        self, drafters: Sequence[Drafter], vocab_size: int, texts: Sequence[Sequence[int]], prompt: Sequence[int]
    ) -> None:
        self._drafters = drafters
        self._vocab_size = vocab_size
        self._author: Drafter | None = None
        self._known = 0
        for drafter in drafters:
            for text in (*texts, prompt):
                drafter.extend(text)
        self.drafted = 0
        """Drafted tokens that were fed."""
        self.accepted = 0
        """Drafted tokens that the answer took."""

    def propose(self, said: Sequence[int], most: int, constraint: Constraint | None) -> Draft:
        """Propose the tokens that may follow.

        Args:
            said: the tokens of the answer.
            most: most tokens that can be used.
            constraint: of the text that follows; None: it is free.
        """
        news, self._known = said[self._known :], len(said)
        for drafter in self._drafters:
            drafter.extend(news)
        most = min(most, MOST_DRAFTED)
        best, self._author = Draft(), None
        if most <= 0:
            return best
        if constraint is not None and (forced := constraint.forced()):
            best = Draft(forced[:most], [_FORCED] * min(len(forced), most))
        for drafter in self._drafters:
            draft = drafter.draft(most, best.expected)
            ids = check_ids(draft.ids, self._vocab_size, "draft")[:most]
            if constraint is not None and ids:
                ids = ids[: constraint.possible(ids)]
            draft = Draft(ids, draft.chances[: len(ids)])
            if draft.expected > best.expected:
                best, self._author = draft, drafter
        return best

    def judge(self, tested: int, right: int) -> None:
        """Tell the author of the last draft how many of its tokens were fed and how many were right: see Drafter."""
        if self._author is not None:
            self._author.judge(tested, right)
