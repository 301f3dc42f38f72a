"""Which tokens may come next in an answer that follows a grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.generation.llguidance_calls import LIBRARY, problem_text

if TYPE_CHECKING:
    from llguidance import LLMatcher

MOST_BREAKS: Final = 2
"""Most line breaks between a think block and an answer."""


class DeadEndError(Qwen3CpuError):
    """No token can follow an unfinished answer: its grammar is too large for the limits of a step."""


class LineBreaks:
    """The tokens of a vocabulary that begin with a line break.

    Args:
        tokens: bytes of each.

    Attributes:
        beginning: ids of all of them.
        alone: id -> number of line breaks, for tokens of at most MOST_BREAKS line breaks and nothing else.
    """

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.beginning = np.array([id_ for id_, token in enumerate(tokens) if token.startswith(b"\n")], dtype=np.intp)
        self.alone = {id_: len(tokens[id_]) for id_ in self.beginning.tolist() if tokens[id_] in (b"\n", b"\n\n")}


class Constraint:
    """Which tokens may come next in one answer.

    Args:
        matcher: in its first state.
        think: the token that may open a think block before anything else; None: no think block.
        breaks: keep line breaks after a think block out of the answer. Up to MOST_BREAKS may come before it, and its
            own text begins with another character. None: the matcher gets them.
    """

    def __init__(self, matcher: LLMatcher, think: int | None, breaks: LineBreaks | None = None) -> None:
        self._matcher = matcher
        self._think = think
        self._breaks = breaks
        self._room: int | None = None
        """Line breaks that may still come before the answer; None: no think block has just ended."""

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits [vocab_size], with -inf for tokens that may not come next. For use outside of think blocks.

        Raises:
            DeadEndError: no token may come next.
        """
        with LIBRARY:
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise DeadEndError(problem_text(self._matcher.get_error()))
        allowed = np.unpackbits(bits, count=min(8 * len(bits), len(logits)), bitorder="little").astype(bool)
        room = None if self._breaks is None else self._room
        if self._breaks is not None and room is not None:
            allowed[self._breaks.beginning[self._breaks.beginning < len(allowed)]] = False
        if not allowed.any() and self._think is None:
            raise DeadEndError("the grammar allows no token here")
        masked = np.full_like(logits, -np.inf)
        np.copyto(masked[: len(allowed)], logits[: len(allowed)], where=allowed)
        if self._think is not None:
            masked[self._think] = logits[self._think]
        if self._breaks is not None and room is not None:
            for token, count in self._breaks.alone.items():
                if count <= room:
                    masked[token] = logits[token]
        return masked

    def thinks(self) -> None:
        """Record a token of a think block: there is no second block, and line breaks may come after this one."""
        self._think = None
        self._room = MOST_BREAKS

    def push(self, token: int) -> None:
        """Record a token outside of think blocks."""
        self._think = None
        if self._breaks is not None and self._room is not None and token in self._breaks.alone:
            self._room = max(0, self._room - self._breaks.alone[token])
            return
        self._room = None
        with LIBRARY:
            self._matcher.consume_token(token)

    def forced(self) -> list[int]:
        """Tokens of the text that has to come next; often none. The model may write it with other tokens."""
        if self._think is not None or self._room is not None:
            return []
        with LIBRARY:
            ids: list[int] = self._matcher.compute_ff_tokens()
        return ids

    def possible(self, ids: Sequence[int]) -> int:
        """How many of these tokens, from the first on, the grammar allows in this order."""
        if self._think is not None or self._room is not None:
            return len(ids)
        with LIBRARY:
            count: int = self._matcher.validate_tokens(list(ids))
        return count
