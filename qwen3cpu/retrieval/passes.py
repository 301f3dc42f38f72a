"""Computes the hidden states of the last tokens of many texts, in ragged passes without padding."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import islice
from typing import Final

from qwen3cpu.engine.engine import Engine
from qwen3cpu.retrieval.window import LEAST_PIECE, WINDOW, State, Window

PASS_TOKENS: Final = 512
"""Tokens in a pass of several texts."""
KV_BYTES: Final = 1 << 28
"""Bytes of the KV cache for texts that share a pass. A short text takes a whole block, 7 MB with the 0.6B model."""


def last_states(engine: Engine, texts: Iterable[Sequence[int]]) -> Generator[list[State], None, None]:
    """Yield the states of texts, window by window, in the order of the texts.

    Args:
        engine: runs the passes. Requests of other threads may run in the same passes.
        texts: token ids of each text, at least one and no more than the context. They are read a window at a time.

    Closing the iterator stops the work after the running pass and frees the memory.
    """
    rest = iter(texts)
    most_blocks = KV_BYTES // engine.kv_block_bytes
    while together := list(islice(rest, WINDOW)):
        with closing(Window(engine, together)) as window:
            while not window.done:
                blocks = max(most_blocks - window.blocks, window.blocks_to_go_on)
                window.receive(engine.forward(window.take(max(PASS_TOKENS, LEAST_PIECE), blocks)))
            yield window.states
