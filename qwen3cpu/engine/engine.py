"""Sequences and the native call: which tokens go into which sequence, and the logits that come back.

Sampling is in sampling.py; answers are in answer.py and batch.py of generation/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.engine.adapters import Adapter, identity_of
from qwen3cpu.engine.batch import BatchItem, Items, Rows
from qwen3cpu.engine.memory_shortage import MemoryShortError
from qwen3cpu.engine.pass_times import PassTimes
from qwen3cpu.engine.prefix_cache import PrefixCache
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.engine.shared_pass import SharedPass
from qwen3cpu.engine.traffic import Traffic
from qwen3cpu.errors import ContextLengthError
from qwen3cpu.system.closed import close_object, closed_name, missing
from qwen3cpu.system.fork_guard import ForkLock

CHUNK = 256
"""Most tokens in one native call. So in a long prompt Ctrl-C is noticed and other sequences get their turn."""


class Engine:
    """The native model with its context, for generation and scoring.

    Args:
        native: the compiled model.
        vocab_size: rows of the head.
        context: positions that a sequence may hold.
        prefix_cache: bytes that the prefix cache may hold.
        check_weights: called before each pass; raises EngineError when the weights have become unreadable.
    """

    def __init__(
        self,
        native: _native.Model,
        *,
        vocab_size: int,
        context: int,
        prefix_cache: int = 0,
        check_weights: Callable[[], None] = lambda: None,
    ) -> None:
        self.native = native
        self._check_weights = check_weights
        self.prefix_cache = PrefixCache(native, prefix_cache)
        """KV blocks of beginnings that prompts share."""
        self._shared_pass = SharedPass(CHUNK)
        self.pass_times = PassTimes()
        """How the time of a pass grows with its tokens."""
        self.traffic = Traffic()
        """Passes and answers that run; background work waits for them."""
        self._native_pass = ForkLock()
        self._sequences: WeakSet[TokenSequence] = WeakSet()
        self._noting = ForkLock()  # a set must not grow while it is read
        self.vocab_size = vocab_size
        self.context = context

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(self, name)

    def close(self, name: str) -> None:
        """Wait for the running pass, and free weights and KV caches. Every later use raises ClosedModelError.

        Args:
            name: of the model, for messages.
        """
        with self._native_pass.held():
            if closed_name(self) is None:
                with self._noting.held():
                    sequences = tuple(self._sequences)
                for sequence in sequences:
                    sequence.release()
                    if sequence.adapter is not None:
                        sequence.adapter.give_back()
                close_object(self, name)

    def check_open(self) -> None:
        """Raise ClosedModelError after `close`, which also empties sequences that are in use."""
        if closed_name(self) is not None:
            raise missing(self, "native")

    @property
    def threads(self) -> int:
        """Threads of a forward pass; may be set between calls."""
        return self.native.threads

    @threads.setter
    def threads(self, threads: int) -> None:
        self.native.threads = threads

    @property
    def kv_block_bytes(self) -> int:
        """Bytes of one block of the KV cache."""
        return self.native.kv_block_bytes()

    @property
    def kv_blocks_in_use(self) -> int:
        """Blocks of the KV cache in use, those of the prefix cache included."""
        return self.native.kv_blocks_in_use()

    def new_sequence(self, adapter: Adapter | None = None) -> TokenSequence:
        """Make an empty sequence; see TokenSequence for the adapter."""
        sequence = TokenSequence(self.native.new_sequence(), adapter=adapter)
        with self._noting.held():
            self._sequences.add(sequence)
        return sequence

    def start(self, sequence: TokenSequence, ids: Sequence[int]) -> int:
        """Reduce a sequence to the beginning that it shares with `ids`, or take a longer one from the prefix cache.

        The cached beginning is one of the same adapter. The last of `ids` is left out, because its logits are needed to
        choose the next token.

        Returns:
            Positions held, which need not be processed.
        """
        beginning = ids[:-1]
        sequence.truncate(sequence.common_prefix(beginning))
        if self.prefix_cache.cached(beginning, sequence.adapter) > sequence.length:
            sequence.take(self.prefix_cache.lookup(beginning, sequence.adapter))
        return sequence.length

    def forward(self, batch: Items) -> Rows:
        """Append new tokens to several sequences in one pass over the weights, shared with other threads' calls.

        Args:
            batch: a BatchItem, or (sequence, new ids, wanted), for each sequence.

        Returns:
            For each item float32 [len(wanted), vocab_size]: the logits for the token after each wanted one. For items
            whose output is "hidden" float32 [len(wanted), hidden_size]: the hidden state of each wanted token.

        Raises:
            ContextLengthError: a sequence would outgrow the context; no sequence has changed.
            EngineError: this process was forked while another thread used the model, the weights' file was cut, or
                memory is short.
            ClosedModelError: the model was closed.
        """
        traffic = self.traffic
        begun = traffic.begin()
        try:
            return self._shared_pass([BatchItem(*item) for item in batch], self._forward)
        finally:
            traffic.end(begun)

    def forward_idle(self, sequence: TokenSequence, new: Sequence[int]) -> None:
        """Append new tokens to a sequence while the model is idle; raises the same errors as `forward`."""
        self._forward([BatchItem(sequence, new, [])])

    def _forward(self, batch: Sequence[BatchItem]) -> Rows:
        for item in batch:
            check_length(item.sequence.length + len(item.ids), self.context)
        with self._native_pass.held():
            self._check_weights()
            for item in batch:
                item.sequence.ids.extend(item.ids)
            # Sort by adapter, because the engine multiplies neighbours with the same adapter together.
            order = sorted(range(len(batch)), key=lambda place: identity_of(batch[place].sequence.adapter) or "")
            try:
                found = self.native.forward([_native_item(batch[place]) for place in order])
            except MemoryError as reason:
                raise MemoryShortError("a forward pass", reason) from reason
            rows = dict(zip(order, found, strict=True))
            return [rows[place] for place in range(len(batch))]

    def every_logit(
        self, ids: Sequence[int], chunk: int = CHUNK, adapter: Adapter | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the logits at all positions of `ids` in pieces: (first position, float32 [n, vocab_size])."""
        check_length(len(ids), self.context)
        sequence = self.new_sequence(adapter)
        try:
            for start in range(0, len(ids), chunk):
                piece = ids[start : start + chunk]
                (logits,) = self.forward([(sequence, piece, range(len(piece)))])
                yield start, logits
        finally:
            sequence.release()

    def memory(self) -> dict[str, Any]:
        """Memory of the engine besides the weights: KV blocks, the prefix cache's included, and workspace, in bytes."""
        blocks, size = self.kv_blocks_in_use, self.kv_block_bytes
        return {
            "kv_blocks_in_use": blocks,
            "kv_block_positions": _native.KV_BLOCK,
            "kv_bytes_in_use": blocks * size,
            "prefix_cache_bytes": self.prefix_cache.size,
            "workspace_bytes": self.native.workspace_bytes(),
        }


def _native_item(item: BatchItem) -> _native.AdaptedItem:
    sequence, adapter = item.sequence, item.sequence.adapter
    ids, wanted = (np.asarray(each, dtype=np.int32) for each in (item.ids, item.wanted))
    return sequence.native, ids, wanted, item.output, None if adapter is None else adapter.native, item.top


def check_length(tokens: int, context: int) -> None:
    """Raise ContextLengthError when `tokens` positions do not fit."""
    if tokens > context:
        raise ContextLengthError(f"{tokens} tokens do not fit into the context of {context} positions")
