"""Splits the work on some hundred texts into pieces for forward passes, alone or together with those of others.

The engine's results do not depend on the batch. So a text's hidden state has the same bits in any batch, and also after
a shared beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.batch import BatchItem, Rows
from qwen3cpu.engine.engine import CHUNK, Engine
from qwen3cpu.engine.formats import KV_BLOCK
from qwen3cpu.engine.sequence import TokenSequence, block_count, common_prefix

WINDOW: Final = 256
"""Texts that are sorted by length and share their beginning. A larger window needs more memory without being faster."""
LEAST_PIECE: Final = 64
"""Least tokens of a piece, except at the end of a text, because many small pieces are slow."""
_LEAST_SHARED: Final = 8  # tokens that are worth a pass of their own

State: TypeAlias = NDArray[np.float32]
"""float32 [hidden_size]: the hidden state of a text's last token, after the model's last norm."""


class _Piece(NamedTuple):
    """A piece of a text in the running pass."""

    text: int | None
    """Place of the text; None: the beginning that all texts share."""
    is_last: bool


class Window:
    """Computes the hidden states of some texts' last tokens.

    A beginning that all texts share is processed once. The texts follow in descending order of length, so that texts of
    similar lengths share passes. A long text is processed in pieces. Between passes at most one text is unfinished.

    Args:
        engine: makes the sequences. The caller runs the passes.
        texts: token ids of each text, at least one and no more than the context.
    """

    def __init__(self, engine: Engine, texts: Sequence[Sequence[int]]) -> None:
        self._engine = engine
        self._texts = texts
        self._shared = _shared_tokens(texts)
        self._waiting = deque(sorted(range(len(texts)), key=lambda place: -len(texts[place])))
        self._beginning: TokenSequence | None = None
        self._reserved: int | None = None
        self._running: dict[int, TokenSequence] = {}
        self._open: int | None = None  # the unfinished text, unless it is in the pass
        self._in_pass: list[_Piece] = []
        self._states: list[State | None] = [None] * len(texts)

    @property
    def done(self) -> bool:
        """Whether all states have been computed."""
        return not self._waiting and not self._running

    @property
    def states(self) -> list[State]:
        """The computed states, in the order of the texts."""
        return [state for state in self._states if state is not None]

    # Memory

    @property
    def blocks(self) -> int:
        """Blocks of the KV cache for the beginning and all running texts, counted at their full lengths."""
        blocks = sum(self._own_blocks(text) for text in self._running)
        if self._beginning is not None:
            blocks += block_count(self._shared)
        if self._reserved is not None:
            blocks += self._own_blocks(self._reserved)
        return blocks

    @property
    def blocks_to_go_on(self) -> int:
        """Blocks that the next piece needs beyond `blocks`; 0 while a text, or the beginning, is unfinished."""
        if self._running or self._reserved is not None or not self._waiting:
            return 0
        own = self._own_blocks(self._waiting[0])
        return own if self._beginning is not None else block_count(self._shared) + own

    def _own_blocks(self, text: int) -> int:
        """Return the blocks of a text that are not shared. The partly filled last block of the beginning is copied."""
        return block_count(len(self._texts[text])) - self._shared // KV_BLOCK

    def pause(self) -> None:
        """Free the beginning unless `blocks_to_go_on` is 0. It is processed again later."""
        if self.blocks_to_go_on and self._beginning is not None:
            self._beginning.release()
            self._beginning = None

    def close(self) -> None:
        """Free all memory."""
        for sequence in self._running.values():
            sequence.release()
        if self._beginning is not None:
            self._beginning.release()
        self._running, self._beginning, self._reserved = {}, None, None

    # Passes

    def take(self, tokens: int, blocks: int | None = None) -> list[BatchItem]:
        """Return items for the next pass. May be called several times for one pass. Empty: the limits are too low.

        Args:
            tokens: most tokens in these items. LEAST_PIECE is always enough to make progress.
            blocks: most blocks of the KV cache that they may take beyond `blocks`; None: any number.
        """
        if self._beginning is None:
            if not self._waiting or not _piece(self._shared or len(self._texts[self._waiting[0]]), tokens):
                return []
            if blocks is not None:
                blocks -= self.blocks_to_go_on
                if blocks < 0:
                    return []
            self._beginning = self._engine.new_sequence()
            self._reserved = self._waiting[0]
        if self._beginning.length < self._shared:
            return self._take_beginning(self._beginning, tokens)
        items: list[BatchItem] = []
        while (text := self._next_text()) is not None:
            ids = self._texts[text]
            sequence = self._running.get(text)
            start = self._shared if sequence is None else sequence.length
            count = _piece(len(ids) - start, tokens)
            if not count:
                break
            if sequence is None:
                if text != self._reserved and blocks is not None:
                    if (own := self._own_blocks(text)) > blocks:
                        break
                    blocks -= own
                self._reserved = None
                sequence = self._running[self._waiting.popleft()] = self._beginning.fork()
            is_last = start + count == len(ids)
            self._open = None
            self._in_pass.append(_Piece(text, is_last))
            items.append(BatchItem(sequence, ids[start : start + count], [count - 1] if is_last else [], "hidden"))
            tokens -= count
            if not is_last:
                break
        return items

    def _take_beginning(self, beginning: TokenSequence, tokens: int) -> list[BatchItem]:
        count = _piece(self._shared - beginning.length, tokens)
        if self._in_pass or not count:
            return []
        self._in_pass.append(_Piece(None, False))
        return [BatchItem(beginning, self._texts[0][beginning.length : beginning.length + count], [])]

    def _next_text(self) -> int | None:
        """Return the text to continue or begin. None: no text is left, or its previous piece is in the same pass."""
        if self._in_pass and not self._in_pass[-1].is_last:
            return None
        if self._open is not None:
            return self._open
        return self._waiting[0] if self._waiting else None

    def receive(self, rows: Rows) -> int:
        """Receive the pass's rows, in the order of the items of `take`. Returns the number of finished texts."""
        pieces, self._in_pass = self._in_pass, []
        count = 0
        for (text, is_last), row in zip(pieces, rows, strict=True):
            if text is not None and is_last:
                self._states[text] = row[0]
                self._running.pop(text).release()
                count += 1
        self._open = next(iter(self._running), None)
        if self.done:
            self.close()
        return count


def _piece(rest: int, tokens: int) -> int:
    """Return the tokens of the next piece, if `rest` tokens are left and `tokens` may be taken."""
    if rest <= min(tokens, CHUNK):
        return rest
    return min(tokens, CHUNK) if tokens >= LEAST_PIECE else 0


def _shared_tokens(texts: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens with which all texts begin; 0: too few for a pass. Each text keeps its last token."""
    if len(texts) < 2:
        return 0
    # In the order of their ids, the first and the last text share exactly what all texts share.
    lists = [list(ids) for ids in texts]
    shared = min(common_prefix(min(lists), max(lists)), min(map(len, lists)) - 1)
    return shared if shared >= _LEAST_SHARED else 0
