"""One sequence: its KV cache, and the ids at its positions."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3cpu import _native
from qwen3cpu.engine.adapters import Adapter


class TokenSequence:
    """The KV cache of one sequence together with the ids that it holds.

    Args:
        native: the KV cache.
        ids: the ids at its positions.
        adapter: changes the model for it. Sequences of different adapters have
            different keys and values for the same ids and share nothing. None: the model's own weights alone.
    """

    def __init__(self, native: _native.Sequence, ids: Sequence[int] = (), adapter: Adapter | None = None) -> None:
        self.native = native
        self.adapter = adapter
        self._ids = list(ids)

    @property
    def length(self) -> int:
        """Positions held."""
        return self.native.length

    @property
    def ids(self) -> list[int]:
        """The ids at those positions."""
        # A forward pass appends its ids before it runs. If it fails, the surplus ids are dropped here.
        del self._ids[self.native.length :]
        return self._ids

    def common_prefix(self, ids: Sequence[int]) -> int:
        """How many of `ids`, from the start, this sequence holds already."""
        return common_prefix(self.ids, ids)

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        self.native.truncate(length)
        del self._ids[length:]

    def fork(self) -> TokenSequence:
        """Make a second sequence with the same positions, which shares their memory."""
        return TokenSequence(self.native.fork(), self.ids, self.adapter)

    def take(self, other: TokenSequence) -> None:
        """Replace the contents by those of `other`, of the same adapter; `other` is empty afterwards."""
        assert self.adapter == other.adapter
        self.native.release()
        self.native, other.native = other.native, self.native
        self._ids, other._ids = other._ids, []

    def belong_to(self, adapter: Adapter | None) -> None:
        """Switch to an adapter (None: to none); positions that another one has processed are forgotten."""
        if adapter != self.adapter:
            self.truncate(0)
        self.adapter = adapter

    def release(self) -> None:
        """Free the memory."""
        self.native.release()
        self._ids.clear()


def block_count(positions: int) -> int:
    """Blocks of the KV cache that hold this many positions of one sequence."""
    return -(-positions // _native.KV_BLOCK)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids, from the start, are the same in both."""
    count = 0
    for mine, theirs in zip(first, second, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
