"""Drafters for tests: they know the answer, and propose it, something else, or a mixture."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import qwen3cpu
from qwen3cpu.engine.drafts import Draft
from qwen3cpu.engine.pass_times import PassTimes


class Oracle:
    """Proposes the true continuation.

    Args:
        known: prompts with their answers.
        ending: tokens after an answer.
    """

    def __init__(self, known: Iterable[Sequence[int]], ending: Sequence[int] = ()) -> None:
        self._known = [[*each, *ending] for each in known]
        self.calls = 0

    def draft(self, tokens: Sequence[int], most: int) -> Sequence[int]:
        self.calls += 1
        assert most >= 1
        length = len(tokens)
        for known in self._known:
            if known[:length] == list(tokens):
                return self.change(known[length:], most)
        return []

    def change(self, tokens: list[int], most: int) -> list[int]:
        return tokens[:most]


class TooMany(Oracle):
    """Proposes more tokens than can be used."""

    def change(self, tokens: list[int], most: int) -> list[int]:
        return tokens + tokens[:1] * (most + 5)


class Wrong(Oracle):
    """Proposes only wrong tokens."""

    def change(self, tokens: list[int], most: int) -> list[int]:
        return [(token + 1) % 256 for token in tokens[:most]]


class Mixture(Oracle):
    """Proposes drafts of any length, with some wrong tokens."""

    def __init__(self, known: Iterable[Sequence[int]], ending: Sequence[int] = ()) -> None:
        super().__init__(known, ending)
        self._random = random.Random(1)

    def change(self, tokens: list[int], most: int) -> list[int]:
        length = self._random.randint(0, most)
        return [self._random.randrange(256) if self._random.random() < 0.2 else token for token in tokens[:length]]


class Endings(Oracle):
    """Proposes a few true tokens and then `ending`, as if the answer ended there."""

    def __init__(self, known: Iterable[Sequence[int]], ending: Sequence[int] = ()) -> None:
        super().__init__(known)
        self._ending = list(ending)

    def change(self, tokens: list[int], most: int) -> list[int]:
        return [*tokens[:3], *self._ending]


KINDS = (Oracle, TooMany, Wrong, Mixture, Endings)


def without_drafts(model: qwen3cpu.Model) -> qwen3cpu.Model:
    """The model without drafts: each later pass brings one token, so that passes can be counted."""
    model.answerer.surroundings = replace(model.answerer.surroundings, make_drafters=None)
    return model


class Guesser(Protocol):
    """Proposes tokens for any text."""

    def draft(self, tokens: Sequence[int], most: int) -> Sequence[int]: ...


class Sure:
    """A Drafter of one answer that trusts a guesser completely."""

    def __init__(self, guesser: Guesser) -> None:
        self._guesser = guesser
        self._text: list[int] = []

    def extend(self, ids: Sequence[int]) -> None:
        self._text += ids

    def draft(self, most: int, found: float = 0) -> Draft:
        ids = self._guesser.draft(self._text, most)
        return Draft(ids, [1.0] * len(ids))

    def judge(self, tested: int, right: int) -> None:
        assert 0 <= right <= tested


class Free(PassTimes):
    """Pass times for which more tokens in a pass cost nothing."""

    def __getitem__(self, tokens: int) -> float:
        return 1.0


@contextmanager
def drafting(model: qwen3cpu.Model, guesser: Guesser):
    """Let all answers of a model be drafted, as far as possible."""
    before, times = model.answerer.surroundings, model.engine.pass_times
    model.answerer.surroundings = replace(before, make_drafters=lambda: [Sure(guesser)])
    model.engine.pass_times = Free()
    try:
        yield guesser
    finally:
        model.answerer.surroundings, model.engine.pass_times = before, times


def timeless(result: qwen3cpu.Result) -> qwen3cpu.Result:
    """A result without its times, for comparisons."""
    return replace(result, timings=None)


def told(chunks: Sequence[qwen3cpu.Chunk]) -> dict[str, Any]:
    """The sum of the chunks of one answer."""
    return {
        "text": "".join(chunk.text for chunk in chunks),
        "reasoning": "".join(chunk.reasoning for chunk in chunks),
        "calls": [chunk.tool_call for chunk in chunks if chunk.tool_call],
        "malformed": [chunk.malformed_call for chunk in chunks if chunk.malformed_call],
        "token_ids": [token for chunk in chunks for token in chunk.token_ids],
        "logprobs": [entry for chunk in chunks for entry in chunk.logprobs or ()],
    }
