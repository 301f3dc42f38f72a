"""The prefix cache: a radix tree of KV blocks, so that beginnings that prompts share are processed once.

A node is one full block of KV_BLOCK positions, found from its parent by their ids. Each adapter has its own tree. With
one adapter, the same ids after the same ids have the same keys and values, bit for bit. So cached blocks do not change
an answer.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import count, takewhile
from typing import NamedTuple, TypeAlias

import numpy as np

from qwen3cpu import _native
from qwen3cpu.engine.adapters import Adapter, identity_of
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.system.fork_guard import ForkLock

BLOCK = _native.KV_BLOCK


Parent: TypeAlias = int | str | None
"""Number of the parent node; for the first block of a path the identity of its adapter, the root of its tree."""
Key: TypeAlias = tuple[Parent, bytes]
"""Parent of a block, and its ids as int32 bytes."""


class _Node(NamedTuple):
    """A cached block."""

    number: int
    """The number by which its children refer to it."""
    block: _native.Block


class PrefixCache:
    """The cached blocks of one model; may be used from several threads.

    Args:
        native: the compiled model.
        limit: most bytes that it holds; 0 keeps nothing.
    """

    def __init__(self, native: _native.Model, limit: int) -> None:
        self._native = native
        self._block_bytes = native.kv_block_bytes()
        self._limit = limit
        self._lock = ForkLock()
        self._numbers = count(1)
        # Least recently used first. A path is marked as used from its end to its beginning, so every node comes after
        # its children, and the first node has none.
        self._nodes: OrderedDict[Key, _Node] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that it holds. Each block counts once, even if running sequences hold it too."""
        return len(self._nodes) * self._block_bytes

    @property
    def limit(self) -> int:
        """Most bytes that it holds; may be set at any time."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock.held():
            self._limit = limit
            self._shrink()

    def lookup(self, ids: Sequence[int], adapter: Adapter | None = None) -> TokenSequence:
        """Make a sequence of an adapter with the longest cached beginning of `ids`: 0 or more whole blocks."""
        with self._lock.held():
            path = self._find(ids, adapter)
            for key in reversed(path):
                self._nodes.move_to_end(key)
            native = self._native.new_sequence([self._nodes[key].block for key in path])
        return TokenSequence(native, ids[: native.length], adapter)

    def cached(self, ids: Sequence[int], adapter: Adapter | None = None) -> int:
        """How many of `ids`, from the start, `lookup` would find. This does not count as use."""
        with self._lock.held():
            return len(self._find(ids, adapter)) * BLOCK

    @staticmethod
    def in_common(ids: Sequence[int], others: Sequence[int]) -> int:
        """Length of the common beginning of both, in whole blocks, counted in positions."""
        if ids[:BLOCK] != others[:BLOCK]:
            return 0
        equal = takewhile(lambda pair: pair[0] == pair[1], zip(_blocks(ids), _blocks(others), strict=False))
        return sum(1 for _ in equal) * BLOCK

    def store(self, sequence: TokenSequence) -> None:
        """Keep the full blocks of a sequence, shared with it; evict the least recently used blocks above the limit."""
        path: list[Key] = []
        parent: Parent = identity_of(sequence.adapter)
        with self._lock.held():
            for index, ids in enumerate(_blocks(sequence.ids[: self._limit // self._block_bytes * BLOCK])):
                key = (parent, ids)
                node = self._nodes.get(key)
                if node is None:
                    node = self._nodes[key] = _Node(next(self._numbers), sequence.native.hold(index))
                path.append(key)
                parent = node.number
            for key in reversed(path):
                self._nodes.move_to_end(key)
            self._shrink()

    def evict(self, size: int) -> int:
        """Free at least `size` bytes, or as many as possible, least recently used first.

        Blocks that a sequence holds too stay, because dropping them would free nothing.

        Returns:
            Bytes that were freed.
        """
        freed = 0
        with self._lock.held():
            children = Counter(parent for parent, _ in self._nodes)
            for key, node in list(self._nodes.items()):
                if freed >= size:
                    break
                if not children[node.number] and not node.block.shared:
                    del self._nodes[key]
                    children[key[0]] -= 1
                    freed += self._block_bytes
        return freed

    def clear(self) -> None:
        """Drop all blocks."""
        with self._lock.held():
            self._nodes.clear()

    def _find(self, ids: Sequence[int], adapter: Adapter | None) -> list[Key]:
        path: list[Key] = []
        parent: Parent = identity_of(adapter)
        for block in _blocks(ids) if self._nodes else ():
            node = self._nodes.get((parent, block))
            if node is None:
                break
            path.append((parent, block))
            parent = node.number
        return path

    def _shrink(self) -> None:
        while self._nodes and self.size > self._limit:
            self._nodes.popitem(last=False)


def _blocks(ids: Sequence[int]) -> list[bytes]:
    """The ids of every full block."""
    data = np.asarray(ids, dtype=np.int32).tobytes()
    length = 4 * BLOCK
    return [data[start : start + length] for start in range(0, len(data) - length + 1, length)]
