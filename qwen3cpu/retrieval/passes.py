"""Hidden states of the last tokens of many texts: ragged passes without padding, and one for what the texts share.

By the invariant a text's hidden state is the same bits alone, in any company, and after a beginning that was shared.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.batch import BatchItem
from qwen3cpu.engine.engine import CHUNK, Engine
from qwen3cpu.engine.sequence import TokenSequence, common_prefix

WINDOW: Final = 256
"""Texts that are sorted by length and share their beginning. More need more memory and gain nothing."""
PASS_TOKENS: Final = 512
"""Tokens in a pass of several texts."""
_LEAST_SHARED: Final = 8  # tokens that are worth a pass of their own

State: TypeAlias = NDArray[np.float32]
"""float32 [hidden_size]: the hidden state of a text's last token, after the model's last norm."""


class _Piece(NamedTuple):
    """Tokens of one text that go into one pass."""

    text: int
    ids: Sequence[int]
    is_last: bool


def last_states(engine: Engine, texts: Iterable[Sequence[int]]) -> Generator[list[State], None, None]:
    """The states of texts, window by window, in the order of the texts.

    Args:
        engine: runs the passes. Passes that other threads ask for meanwhile run together with these.
        texts: token ids of each, at least one and no more than the context; read a window at a time.

    Closing the iterator stops the work after the pass that is running and gives the memory back.
    """
    rest = iter(texts)
    while window := list(islice(rest, WINDOW)):
        yield _states_of(engine, window)


def _states_of(engine: Engine, window: list[Sequence[int]]) -> list[State]:
    states: list[State | None] = [None] * len(window)
    shared = _shared_tokens(window)
    with ExitStack() as cleanup:
        beginning = engine.new_sequence()
        cleanup.callback(beginning.release)
        for start in range(0, shared, CHUNK):
            engine.forward([(beginning, window[0][start : min(start + CHUNK, shared)], [])])
        sequences: dict[int, TokenSequence] = {}
        cleanup.callback(_release, sequences)
        for together in _passes([ids[shared:] for ids in window]):
            for piece in together:
                if piece.text not in sequences:
                    sequences[piece.text] = beginning.fork()
            rows = engine.forward(
                [
                    BatchItem(sequences[piece.text], piece.ids, [len(piece.ids) - 1] if piece.is_last else [], "hidden")
                    for piece in together
                ]
            )
            for piece, row in zip(together, rows, strict=True):
                if piece.is_last:
                    states[piece.text] = row[0]
                    sequences.pop(piece.text).release()
    return [state for state in states if state is not None]


def _release(sequences: dict[int, TokenSequence]) -> None:
    for sequence in sequences.values():
        sequence.release()


def _shared_tokens(window: list[Sequence[int]]) -> int:
    """How many tokens all texts begin with; 0 where that is not worth a pass. Each keeps a token of its own."""
    if len(window) < 2:
        return 0
    # What the first and the last in order of their ids share, all share.
    lists = [list(ids) for ids in window]
    shared = min(common_prefix(min(lists), max(lists)), min(map(len, lists)) - 1)
    return shared if shared >= _LEAST_SHARED else 0


def _passes(texts: list[Sequence[int]]) -> Iterator[list[_Piece]]:
    """What goes into each pass: long texts piece by piece, and short ones of similar lengths together."""
    together: list[_Piece] = []
    tokens = 0
    for number in sorted(range(len(texts)), key=lambda each: -len(texts[each])):
        ids = texts[number]
        start = 0
        while len(ids) - start > CHUNK:
            yield [_Piece(number, ids[start : start + CHUNK], False)]
            start += CHUNK
        if together and tokens + len(ids) - start > PASS_TOKENS:
            yield together
            together, tokens = [], 0
        together.append(_Piece(number, ids[start:], True))
        tokens += len(ids) - start
    if together:
        yield together
