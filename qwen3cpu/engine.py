"""Sequences and the native call: which tokens go into which sequence, and the logits that come back.

Nothing here samples or knows what an answer is; see answer.py and generate.py for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.errors import ContextLengthError

CHUNK = 256
"""Tokens in one native call at most, so that Ctrl-C is heard and other sequences get their turn in long prompts."""


class TokenSequence:
    """The KV cache of one sequence together with the ids that it holds."""

    def __init__(self, native: _native.Sequence, ids: Sequence[int] = ()) -> None:
        self.native = native
        self._ids = list(ids)

    @property
    def length(self) -> int:
        """Positions held."""
        return self.native.length

    @property
    def ids(self) -> list[int]:
        """The ids at those positions."""
        # A forward pass notes its ids before it runs; when Ctrl-C or an error struck in between, the surplus goes here.
        del self._ids[self.native.length :]
        return self._ids

    def common_prefix(self, ids: Sequence[int]) -> int:
        """How many of `ids`, from the start, this sequence holds already."""
        count = 0
        for mine, theirs in zip(self.ids, ids, strict=False):
            if mine != theirs:
                break
            count += 1
        return count

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        self.native.truncate(length)
        del self._ids[length:]

    def fork(self) -> TokenSequence:
        """A second sequence with the same positions, which shares their memory."""
        return TokenSequence(self.native.fork(), self.ids)

    def release(self) -> None:
        """Give the memory back."""
        self.native.release()
        self._ids.clear()


class Engine:
    """The native model with its context, as seen by generation and scoring.

    Args:
        native: the compiled model.
        vocab_size: rows of the head.
        context: positions that a sequence may hold.
    """

    def __init__(self, native: _native.Model, *, vocab_size: int, context: int) -> None:
        self.native = native
        self.vocab_size = vocab_size
        self.context = context

    @property
    def threads(self) -> int:
        """Threads of a forward pass; may be set between calls."""
        return self.native.threads

    @threads.setter
    def threads(self, threads: int) -> None:
        self.native.threads = threads

    def new_sequence(self) -> TokenSequence:
        """An empty sequence."""
        return TokenSequence(self.native.new_sequence())

    def forward(self, batch: Sequence[tuple[TokenSequence, Sequence[int], Sequence[int]]]) -> list[NDArray[np.float32]]:
        """Append new tokens to several sequences in one pass over the weights.

        Args:
            batch: (sequence, new ids, wanted) each; wanted: offsets into the new ids, ascending, may be empty.

        Returns:
            For each item float32 [len(wanted), vocab_size]: the logits for the token after each wanted one.

        Raises:
            ContextLengthError: a sequence would outgrow the context. No sequence has changed then.
        """
        for sequence, new, _ in batch:
            check_length(sequence.length + len(new), self.context)
        for sequence, new, _ in batch:
            sequence.ids.extend(new)
        logits = self.native.forward(
            [(sequence.native, np.asarray(new, dtype=np.int32)) for sequence, new, _ in batch],
            [np.asarray(wanted, dtype=np.int32) for _, _, wanted in batch],
        )
        ends = np.cumsum([len(wanted) for _, _, wanted in batch])
        return [logits[end - len(wanted) : end] for end, (_, _, wanted) in zip(ends, batch, strict=True)]

    def every_logit(self, ids: Sequence[int], chunk: int = CHUNK) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The logits at all positions of `ids`, piece by piece: (first position, float32 [n, vocab_size]) each."""
        check_length(len(ids), self.context)
        sequence = self.new_sequence()
        try:
            for start in range(0, len(ids), chunk):
                piece = ids[start : start + chunk]
                (logits,) = self.forward([(sequence, piece, range(len(piece)))])
                yield start, logits
        finally:
            sequence.release()

    def memory(self) -> dict[str, Any]:
        """Bytes that the engine holds besides the weights: blocks of the KV cache and workspace."""
        blocks, size = self.native.kv_blocks_in_use(), self.native.kv_block_bytes()
        return {
            "kv_blocks_in_use": blocks,
            "kv_block_positions": _native.KV_BLOCK,
            "kv_bytes_in_use": blocks * size,
            "workspace_bytes": self.native.workspace_bytes(),
        }


def check_length(tokens: int, context: int) -> None:
    """Raise ContextLengthError when `tokens` positions do not fit."""
    if tokens > context:
        raise ContextLengthError(f"{tokens} tokens do not fit into the context of {context} positions")
