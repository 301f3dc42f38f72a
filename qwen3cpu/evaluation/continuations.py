"""Scores given continuations of given beginnings, many at once, as benchmarks need it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.engine import CHUNK, Engine
from qwen3cpu.engine.sampling import Sampler, SamplingParams
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.text.token_ids import check_ids


@dataclass(frozen=True)
class ContinuationScore:
    """Natural log-probability of a continuation, and whether greedy decoding would have written it."""

    logprob: float
    greedy: bool


def score_continuations(
    model: Model, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, most_running: int = 16
) -> Iterator[tuple[int, ContinuationScore]]:
    """Score the second part of each pair of token ids after the first. A score does not depend on the other pairs.

    A beginning that several pairs share is processed once.

    Args:
        model: the model that scores.
        pairs: (beginning, continuation), neither empty.
        most_running: number of different beginnings that are processed at once.

    Returns:
        (index of the pair, its score), in the order of completion.

    Raises:
        ArgumentError: an empty part, or an id outside the vocabulary.
        ContextLengthError: a pair does not fit into the context.
    """
    sharing: dict[tuple[int, ...], list[int]] = {}
    for index, (beginning, continuation) in enumerate(pairs):
        for name, ids in (("beginning", beginning), ("continuation", continuation)):
            if not check_ids(ids, model.config.vocab_size, f"pairs[{index}]: {name}"):
                raise ArgumentError(f"pairs[{index}]: {name}: expected at least one token id, found none")
        sharing.setdefault(tuple(beginning), []).append(index)
    return _scores(model, pairs, sharing, most_running)


def _scores(
    model: Model,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    sharing: dict[tuple[int, ...], list[int]],
    most_running: int,
) -> Iterator[tuple[int, ContinuationScore]]:
    vocab_size = model.config.vocab_size
    limit = min(model.tokenizer.size, vocab_size)
    scorer = Sampler(SamplingParams(), vocab_size=vocab_size, token_limit=limit, prompt=[])
    groups = iter(sharing.items())
    while group := list(itertools.islice(groups, most_running)):
        with ExitStack() as stack:
            beginnings, jobs = [], []
            for beginning, indices in group:
                shared = model.engine.new_sequence()
                stack.callback(shared.release)
                beginnings.append(_Job(shared, beginning[:-1], None))
                for index in indices:
                    jobs.append((index, beginning[-1], shared))
            for _ in _passes(model.engine, beginnings):
                pass
            yield from _score_group(model.engine, scorer, pairs, jobs)


def _score_group(
    engine: Engine,
    scorer: Sampler,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    jobs: Sequence[tuple[int, int, TokenSequence]],
) -> Iterator[tuple[int, ContinuationScore]]:
    """Yield the scores for jobs (index of a pair, last id of its beginning, sequence with the rest of it)."""
    with ExitStack() as stack:
        forks = []
        for index, last, shared in jobs:
            fork = shared.fork()
            stack.callback(fork.release)
            continuation = list(pairs[index][1])
            forks.append(_Job(fork, [last, *continuation[:-1]], continuation))
        found: dict[int, tuple[float, bool]] = {id(job): (0.0, True) for job in forks}
        for job, first, logits in _passes(engine, forks):
            assert job.targets is not None
            logprob, greedy = found[id(job)]
            for row, token in zip(logits, job.targets[first:], strict=False):
                value, best = scorer.logprobs(row, token, 1)
                logprob, greedy = logprob + value, greedy and best[0][0] == token
            found[id(job)] = logprob, greedy
        for (index, _, _), job in zip(jobs, forks, strict=True):
            yield index, ContinuationScore(*found[id(job)])


@dataclass
class _Job:
    """Ids to append to a sequence, and the token to score after each of them. targets: None: no logits are needed."""

    sequence: TokenSequence
    ids: Sequence[int]
    targets: Sequence[int] | None
    done: int = 0


def _passes(engine: Engine, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, int, NDArray[np.float32]]]:
    """Process all jobs, up to CHUNK tokens in a pass; yields (job, offset of its first new id, logits) by piece."""
    waiting = deque(job for job in jobs if job.ids)
    while waiting:
        pieces: list[tuple[_Job, int, Sequence[int]]] = []
        room = CHUNK
        while waiting and room:
            job = waiting.popleft()
            piece = job.ids[job.done : job.done + room]
            pieces.append((job, job.done, piece))
            job.done += len(piece)
            room -= len(piece)
            if job.done < len(job.ids):
                waiting.appendleft(job)
        logits = engine.forward(
            [(job.sequence, piece, range(len(piece)) if job.targets else ()) for job, _, piece in pieces]
        )
        for (job, first, _), each in zip(pieces, logits, strict=True):
            yield job, first, each
