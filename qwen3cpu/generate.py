"""Answers decoded together, and the generators that stream them.

A step is one native call over what every running answer still has to feed: a piece of a prompt, or its last token.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from qwen3cpu.answer import Answer
from qwen3cpu.engine import CHUNK, Engine
from qwen3cpu.progress import Progress
from qwen3cpu.results import Chunk

MOST_RUNNING = 16
"""Answers of generate_batch decoded side by side."""


class Batch:
    """Answers that run together. Each gets exactly the tokens that it would get alone.

    Args:
        engine: runs the forward passes.
        chunk: tokens in one pass at most.
    """

    def __init__(self, engine: Engine, *, chunk: int = CHUNK) -> None:
        self._engine = engine
        self._chunk = chunk
        self._running: list[Answer] = []
        self._followers: dict[Answer, Sequence[Answer]] = {}
        self.prompt_tokens = 0
        """Prompt tokens processed so far."""

    def __len__(self) -> int:
        """Answers that have not finished."""
        return len(self._running) + sum(len(followers) for followers in self._followers.values())

    def add(self, *answers: Answer) -> None:
        """Let one or several answers to the same prompt join; the prompt is processed once."""
        first, *followers = answers
        self._running.append(first)
        self._followers[first] = followers

    def step(self) -> list[Chunk]:
        """One forward pass; a chunk for every answer that got a token. Finished answers are released."""
        shares = self._share_out()
        rows = self._engine.forward(
            [
                (answer.sequence, answer.pending[:count], [count - 1] if count == len(answer.pending) else [])
                for answer, count in shares
            ]
        )
        chunks = []
        for (answer, count), logits in zip(shares, rows, strict=True):
            answer.fed(count)
            if answer.in_prompt:
                self.prompt_tokens += count
            if answer.pending:
                continue
            followers = self._followers.pop(answer, ())
            for follower in followers:
                follower.share_prompt(answer)
            chunks += [each.receive(logits[0]) for each in (answer, *followers)]
            self._running += followers
        for answer in self._running:
            if answer.result is not None:
                answer.release()
        self._running = [answer for answer in self._running if answer.result is None]
        return chunks

    def close(self) -> None:
        """Give back the memory of every answer that has not finished."""
        for answer in self._running:
            answer.release()
        self._running.clear()
        self._followers.clear()

    def _share_out(self) -> list[tuple[Answer, int]]:
        """How many of its pending tokens each answer feeds: running answers all, prompts what the chunk has left."""
        shares = [(answer, len(answer.pending)) for answer in self._running if not answer.in_prompt]
        room = max(1, self._chunk - sum(count for _, count in shares))
        for answer in self._running:
            if answer.in_prompt and room:
                count = min(room, len(answer.pending))
                shares.append((answer, count))
                room -= count
        return shares


def run(engine: Engine, answers: Sequence[Answer], *, progress: bool = False) -> Generator[Chunk, None, None]:
    """Stream one or several answers to the same prompt.

    Closing the generator, or Ctrl-C, stops before the next step.

    Args:
        engine: runs the forward passes.
        answers: all to the same prompt.
        progress: show a bar while a prompt of more than one piece is processed.
    """
    batch = Batch(engine)
    batch.add(*answers)
    prompt_tokens = len(answers[0].pending)
    try:
        if progress and prompt_tokens > CHUNK:
            chunks: list[Chunk] = []
            with Progress("prompt", prompt_tokens, unit="tok") as bar:
                while not chunks:
                    before = batch.prompt_tokens
                    chunks = batch.step()
                    bar.advance(batch.prompt_tokens - before)
            yield from chunks
        while len(batch):
            yield from batch.step()
    finally:
        batch.close()


def run_many(engine: Engine, answers: Iterable[Answer], *, most_running: int) -> Generator[Chunk, None, None]:
    """Stream answers to different prompts, decoded together; when one has finished, the next joins.

    Args:
        engine: runs the forward passes.
        answers: taken from it one by one, when there is room.
        most_running: answers side by side.
    """
    batch = Batch(engine)
    waiting = iter(answers)
    try:
        while True:
            while len(batch) < most_running and (answer := next(waiting, None)) is not None:
                batch.add(answer)
            if not len(batch):
                return
            yield from batch.step()
    finally:
        batch.close()
