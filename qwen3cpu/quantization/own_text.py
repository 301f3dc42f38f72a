"""Writes the calibration text: the model continues random tokens, sampling from its unfiltered distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.engine import Engine
from qwen3cpu.engine.sampling import Sampler, SamplingParams
from qwen3cpu.system.progress_bar import Progress

_TOGETHER = 32
"""Pieces written together, so that one pass over the weights serves all of them."""


def write_text(
    engine: Engine, *, token_limit: int, pieces: int, length: int, seed: int, progress: Progress
) -> NDArray[np.int32]:
    """Write ids [pieces, length]. An end token does not end a piece; another text follows in it.

    token_limit: all ids of the tokenizer are below it. progress: advances by one for each token. The same arguments
    give the same text, because the engine's results depend neither on threads nor on the batch.
    """
    starts = np.random.PCG64(seed).random_raw(pieces) % np.uint64(token_limit)
    out = np.empty((pieces, length), np.int32)
    out[:, 0] = starts
    progress.start("Writing text", pieces * length, "tokens")
    for first in range(0, pieces, _TOGETHER):
        _write_together(engine, out[first : first + _TOGETHER], first, token_limit, seed, progress)
    return out


def _write_together(
    engine: Engine, out: NDArray[np.int32], first: int, token_limit: int, seed: int, progress: Progress
) -> None:
    """Fill rows that have their first tokens. `first` is the number of the first row."""
    params = SamplingParams(seed=seed, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    samplers = [
        Sampler(params, vocab_size=engine.vocab_size, token_limit=token_limit, prompt=[], stream=first + row)
        for row in range(len(out))
    ]
    sequences = [engine.new_sequence() for _ in samplers]
    try:
        progress.advance(len(out))
        for place in range(1, out.shape[1]):
            last = out[:, place - 1].tolist()
            rows = engine.forward([(each, [token], [0]) for each, token in zip(sequences, last, strict=True)])
            out[:, place] = [sampler.sample(logits[0]) for sampler, logits in zip(samplers, rows, strict=True)]
            progress.advance(len(out))
    finally:
        for sequence in sequences:
            sequence.release()
