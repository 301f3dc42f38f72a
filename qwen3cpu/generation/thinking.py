"""The reasoning of one answer: how long it is, and when it has to be closed."""

from __future__ import annotations

from typing import Literal

from qwen3cpu.generation.deadline import Deadline
from qwen3cpu.generation.loops import LoopDetector

ClosedBy = Literal["budget", "deadline", "loop"]

BUDGET_SPENT = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
    "\n</think>\n\n"
)
"""The text that Qwen3's authors feed in when a thinking budget is spent (Qwen3 technical report, section 4.4)."""
EMPTY_BLOCK = "\n\n</think>\n\n"
"""The rest of an empty think block, for a budget of 0."""


class Thinking:
    """Counts the tokens of the reasoning and finds out when to close it.

    Args:
        budget: tokens of reasoning after which it is closed; None: no limit.
        loop_detection: whether reasoning that repeats itself is closed.
        deadline: closes the reasoning while there is time for an answer; None: no limit.
    """

    def __init__(self, budget: int | None, *, loop_detection: bool, deadline: Deadline | None) -> None:
        self._budget = budget
        self._deadline = deadline
        self._loops = LoopDetector() if loop_detection else None
        self._in_loop = False
        self._inside = 0
        self.tokens = 0
        """Tokens in think blocks, the two markers included."""
        self.closed_by: ClosedBy | None = None
        """Why the closing text was fed in; None: it was not."""

    def note(self, token: int, *, inside: bool) -> None:
        """Count a token of a think block.

        Args:
            token: its id.
            inside: False for the two markers.
        """
        self.tokens += 1
        if inside:
            self._inside += 1
            if self._loops is not None:
                self._in_loop = self._loops.push(token)

    def due(self) -> ClosedBy | None:
        """Why the open think block has to be closed; None: it may go on."""
        if self._budget is not None and self._inside >= self._budget:
            return "budget"
        if self._in_loop:
            return "loop"
        if self._deadline is not None and self._deadline.answer_due:
            return "deadline"
        return None

    @property
    def closing_text(self) -> str:
        """The text that closes the open think block: the authors' sentence, or the rest of an empty block."""
        return BUDGET_SPENT if self._inside else EMPTY_BLOCK
