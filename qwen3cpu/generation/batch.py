"""Answers decoded together, and the generators that stream them.

A step is one native call over the pending tokens of every running answer: a piece of a prompt, or its last token.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.batch import BatchItem
from qwen3cpu.engine.engine import CHUNK, Engine
from qwen3cpu.errors import EngineError, Qwen3CpuError
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.draft_shares import share_out_drafts
from qwen3cpu.generation.results import Chunk
from qwen3cpu.system.blas_threads import shorten_waits
from qwen3cpu.system.progress_bar import Progress, is_wanted

MOST_RUNNING = 16
"""Most answers that generate_batch decodes at a time."""


class Batch:
    """Answers that run together. Each gets exactly the tokens that it would get alone.

    Args:
        engine: runs the forward passes.
        chunk: most tokens in one pass. Running answers come first; prompts get the rest, at least one token.
    """

    def __init__(self, engine: Engine, *, chunk: int = CHUNK) -> None:
        self._engine = engine
        self.chunk = chunk
        """May be changed between steps."""
        self._running: list[Answer] = []
        self._followers: dict[Answer, Sequence[Answer]] = {}
        engine.traffic.watch(self)
        self.prompt_tokens = 0
        """Tokens of prompts processed so far, those of preempted answers included."""

    def __len__(self) -> int:
        """Answers that have not finished."""
        return len(self._running) + sum(len(followers) for followers in self._followers.values())

    @property
    def running(self) -> Sequence[Answer]:
        """The answers that have a sequence of their own, in the order in which they joined."""
        return self._running

    def add(self, *answers: Answer) -> None:
        """Add one or several answers to the same prompt; the prompt is processed once."""
        first, *followers = answers
        first.start()
        self._running.append(first)
        self._followers[first] = followers

    def remove(self, answer: Answer) -> Sequence[Answer]:
        """Stop an answer and free its memory. Returns the answers that waited for its prompt; they are removed too."""
        self._running.remove(answer)
        answer.release()
        return self._followers.pop(answer, ())

    def step(self) -> list[Chunk]:
        """Run one forward pass; return a chunk for every answer that got a token. The error of any answer is raised."""
        chunks = []
        for _, outcome in self.advance():
            if isinstance(outcome, Qwen3CpuError):
                raise outcome
            chunks.append(outcome)
        return chunks

    def advance(self) -> list[tuple[Answer, Chunk | Qwen3CpuError]]:
        """Run one forward pass; return a chunk or an error for every answer that got a token. Release finished answers.

        An error belongs to its answer, which it has ended; the others go on. An error that the pass itself raises
        concerns all answers, and has changed none of them.
        """
        shares = self._share_out()
        start = perf_counter()
        rows = self._engine.forward([_item(answer, count) for answer, count in shares])
        if not any(answer.catching_up for answer, _ in shares):
            self._engine.pass_times.note(sum(count for _, count in shares), perf_counter() - start)
        outcomes: list[tuple[Answer, Chunk | Qwen3CpuError]] = []
        ended: set[Answer] = set()
        for (answer, count), logits in zip(shares, rows, strict=True):
            if answer.catching_up:
                self.prompt_tokens += count
            answer.fed(count, logits)
            if answer.pending:
                self._engine.prefix_cache.store(answer.sequence)
                if answer.overdue:
                    late = (answer, *self._followers.pop(answer, ()))
                    outcomes += [(each, each.cut_off()) for each in late]
                    ended.update(late)
                continue
            followers = self._followers.pop(answer, ())
            for follower in followers:
                follower.share_prompt(answer)
            self._running += followers
            for each in (answer, *followers):
                outcome = _receive(each, logits if each is answer else logits[-1:])
                outcomes.append((each, outcome))
                if each.result is not None or isinstance(outcome, Qwen3CpuError):
                    ended.add(each)
        for answer in ended:
            answer.release()
        self._running = [answer for answer in self._running if answer not in ended]
        self._trim_drafts()
        return outcomes

    def close(self) -> None:
        """Free the memory of every answer that has not finished."""
        for answer in self._running:
            answer.release()
        self._running.clear()
        self._followers.clear()

    def _trim_drafts(self) -> None:
        """Keep as many drafted tokens for the next pass as make it fastest."""
        answers = [answer for answer in self._running if not answer.catching_up]
        chances = [answer.chances for answer in answers]
        if not any(chances):
            return
        tokens = sum(len(answer.pending) - len(answer.chances) for answer in answers)
        for answer, count in zip(answers, share_out_drafts(tokens, chances, self._engine.pass_times), strict=True):
            answer.keep_drafted(count)

    def _share_out(self) -> list[tuple[Answer, int]]:
        """How many of its pending tokens each answer feeds.

        Running answers feed all of them. Prompts share the rest of the chunk evenly, and short prompts leave the rest
        of their part to longer ones. So a long prompt never blocks the others (head-of-line blocking). If several
        prompts begin alike, the first one processes the beginning, and the others wait for it.
        """
        shares = [(answer, len(answer.pending)) for answer in self._running if not answer.catching_up]
        room = max(1, self.chunk - sum(count for _, count in shares))
        prompts: list[Answer] = []
        for answer in self._running:
            if answer.catching_up:
                answer.start()
                if not any(answer.follows(other) for other in prompts):
                    prompts.append(answer)
        prompts.sort(key=lambda answer: len(answer.pending))
        for place, answer in enumerate(prompts):
            count = min(room // (len(prompts) - place), len(answer.pending))
            if count:
                shares.append((answer, count))
                room -= count
        return shares


def _item(answer: Answer, count: int) -> BatchItem:
    ids, wanted = answer.pending[:count], answer.wanted(count)
    if answer.top is None:
        return BatchItem(answer.sequence, ids, wanted)
    return BatchItem(answer.sequence, ids, wanted, "top_logits", answer.top)


def _receive(answer: Answer, rows: NDArray[np.float32]) -> Chunk | Qwen3CpuError:
    try:
        return answer.receive(rows)
    except Qwen3CpuError as error:
        return error


@contextmanager
def _batch(engine: Engine) -> Iterator[Batch]:
    batch = Batch(engine)
    try:
        yield batch
    except EngineError:
        engine.check_open()
        raise
    finally:
        batch.close()
        shorten_waits()  # an OpenBLAS may have been loaded after the model; its threads may be asleep by this time


def run(engine: Engine, answers: Sequence[Answer], *, progress: bool | None = None) -> Generator[Chunk, None, None]:
    """Stream one or several answers to the same prompt.

    Closing the generator or pressing Ctrl-C stops before the next step.

    Args:
        engine: runs the forward passes.
        answers: all to the same prompt.
        progress: show a bar while a prompt of more than one piece is processed. None: in a notebook only.
    """
    with _batch(engine) as batch:
        batch.add(*answers)
        prompt_tokens = len(answers[0].pending)
        if prompt_tokens > CHUNK and is_wanted(progress):
            chunks: list[Chunk] = []
            with Progress("prompt", prompt_tokens, unit="tok") as bar:
                while not chunks:
                    before = batch.prompt_tokens
                    chunks = batch.step()
                    bar.advance(batch.prompt_tokens - before)
            yield from chunks
        while len(batch):
            yield from batch.step()


def run_many(
    engine: Engine, answers: Iterable[Answer], *, most_running: int, advance: Callable[[int], None] = lambda _: None
) -> Generator[Chunk, None, None]:
    """Stream answers to different prompts, decoded together; when one has finished, the next joins.

    Args:
        engine: runs the forward passes.
        answers: taken one by one, when there is room.
        most_running: most answers that run at a time.
        advance: called with 1 when an answer is complete.
    """
    waiting = iter(answers)
    with _batch(engine) as batch:
        while True:
            while len(batch) < most_running and (answer := next(waiting, None)) is not None:
                batch.add(answer)
            if not len(batch):
                return
            for chunk in batch.step():
                if chunk.result is not None:
                    advance(1)
                yield chunk
