"""Answers decoded together, and the generators that stream them.

A step is one native call over what every running answer still has to feed: a piece of a prompt, or its last token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from qwen3cpu.answer import Answer
from qwen3cpu.engine import CHUNK, Engine
from qwen3cpu.progress import Progress
from qwen3cpu.results import Chunk

MOST_RUNNING = 16
"""Answers decoded side by side; further ones wait until one has finished."""


class Batch:
    """Answers that run together. Each gets exactly the tokens that it would get alone.

    Args:
        engine: runs the forward passes.
        most_running: answers decoded at the same time.
        chunk: tokens in one pass at most.
    """

    def __init__(self, engine: Engine, *, most_running: int = MOST_RUNNING, chunk: int = CHUNK) -> None:
        self._engine = engine
        self._most_running = most_running
        self._chunk = chunk
        self._waiting: deque[Sequence[Answer]] = deque()
        self._running: list[Answer] = []
        self._followers: dict[Answer, Sequence[Answer]] = {}
        self.prompt_tokens = 0
        """Prompt tokens processed so far."""

    @property
    def busy(self) -> bool:
        """Whether an answer is running or waiting."""
        return bool(self._running or self._waiting)

    def add(self, answers: Sequence[Answer]) -> None:
        """Queue one or several answers to the same prompt, which is processed once."""
        self._waiting.append(answers)

    def step(self) -> list[Chunk]:
        """One forward pass; a chunk for every answer that got a token. Finished answers are released."""
        self._admit()
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
            for each in (answer, *followers):
                chunks.append(each.receive(logits[0]))
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
        self._waiting.clear()

    def _admit(self) -> None:
        running = len(self._running) + sum(len(followers) for followers in self._followers.values())
        while self._waiting and (not running or running + len(self._waiting[0]) <= self._most_running):
            first, *followers = self._waiting.popleft()
            self._running.append(first)
            self._followers[first] = followers
            running += 1 + len(followers)

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


def run(batch: Batch, prompt_tokens: int | None = None) -> Iterator[Chunk]:
    """Step until every answer is finished. Closing the generator, or Ctrl-C, stops before the next step.

    Args:
        batch: with its answers.
        prompt_tokens: show a progress bar of that many prompt tokens until the first token of an answer; None: no bar.
    """
    try:
        if prompt_tokens is not None:
            chunks: list[Chunk] = []
            with Progress("prompt", prompt_tokens, unit="tok") as progress:
                while not chunks:
                    before = batch.prompt_tokens
                    chunks = batch.step()
                    progress.advance(batch.prompt_tokens - before)
            yield from chunks
        while batch.busy:
            yield from batch.step()
    finally:
        batch.close()
