"""Drafts from a smaller model with the same tokenizer: it often chooses the same tokens as the larger one."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.batch import MOST_TOP, BatchItem
from qwen3cpu.engine.chances import Chances
from qwen3cpu.engine.drafts import Draft
from qwen3cpu.engine.engine import Engine
from qwen3cpu.engine.pass_times import PassTimes

PIECE: Final = 32
"""Most tokens of a text that the small model reads at once, so that no token of the answer waits for a long prompt."""
_BUCKETS: Final = 10
_PRIOR_WEIGHT: Final = 4.0
_KEPT: Final = 0.98
_LOOK_AGAIN: Final = 64
"""Tokens after which a draft is tried again, when drafts did not pay. The small model has to read these tokens first,
which takes time too. So after each try that still does not pay, the number is multiplied by _PATIENCE."""
_PATIENCE: Final = 4


class DraftModel:
    """The small model, for all answers of the large one.

    It drafts only while one answer runs and no request waits. Several answers fill a pass anyway, and each would wait
    for the drafts of the others. It holds the text of one answer at a time.

    Args:
        engine: of the small model.
        large: of the large model.
        tokens: number of tokens that both have; higher ids of the vocabulary are not tokens.
    """

    def __init__(self, engine: Engine, large: Engine, tokens: int) -> None:
        self.engine = engine
        self.tokens = tokens
        self._large = large
        self.seconds = 0.0
        """Recent time of a pass of the small model over one token."""
        self.first = 0.7
        """How often the first token of recent drafts was right, 0 to 1."""
        self._holder: weakref.ref[ModelDrafter] | None = None
        self.chances = Chances(
            [(place + 0.5) / _BUCKETS for place in range(_BUCKETS)], _bucket, weight=_PRIOR_WEIGHT, kept=_KEPT
        )
        """How often the large model takes a token, by the probability that the small one gives it."""

    def drafter(self) -> ModelDrafter:
        """Make the drafter of a new answer."""
        return ModelDrafter(self)

    def hold(self, drafter: ModelDrafter) -> None:
        """Let one drafter keep its text in memory; the previous one frees its text."""
        before = None if self._holder is None else self._holder()
        if before is not drafter:
            if before is not None:
                before.forget()
            self._holder = weakref.ref(drafter)

    @property
    def times(self) -> PassTimes:
        """Times of the large model's passes."""
        return self._large.pass_times

    @property
    def alone(self) -> bool:
        """Whether one answer runs, and no request waits."""
        return self._large.traffic.alone

    @property
    def least_chance(self) -> float:
        """Least chance at which a drafted token pays: it costs a pass of the small model and a token in the large."""
        ahead = self.times[2] - 1
        return ahead + (self.seconds / self.times.seconds if self.times.seconds and self.seconds else 0.25)

    @property
    def usual(self) -> float:
        """Expected right tokens of a long draft, if each is as likely as the first one was recently."""
        return self.first / max(1 - self.first, 1e-3)

    def passed(self, seconds: float) -> None:
        """Record the time of a pass of the small model over one token."""
        self.seconds = seconds if not self.seconds else 0.9 * self.seconds + 0.1 * min(seconds, 3 * self.seconds)


def _bucket(probability: float) -> int:
    return min(int(probability * _BUCKETS), _BUCKETS - 1)


class ModelDrafter:
    """Proposes the small model's likeliest tokens, one by one, while they are likely enough to be right.

    Args:
        model: the small model.
    """

    def __init__(self, model: DraftModel) -> None:
        self._model = model
        self._sequence = model.engine.new_sequence()
        self._text: list[int] = []
        self._common = 0
        """Tokens of its sequence that have been compared and equal the text."""
        self._probabilities: list[float] = []
        self._idle = 0
        """Tokens since the last draft."""
        self._wait = _LOOK_AGAIN

    def extend(self, ids: Sequence[int]) -> None:
        """See Drafter."""
        self._text += ids

    def draft(self, most: int, found: float = 0) -> Draft:
        """See Drafter."""
        engine, model = self._model.engine, self._model
        self._probabilities = []
        room = engine.context - len(self._text)
        self._idle += 1
        pays = model.first >= model.least_chance
        if not model.alone or room < 1 or not (pays or self._idle >= self._wait) or found >= model.usual:
            return Draft()
        model.hold(self)
        pending = self._unread()
        if not pending:
            return Draft()
        ids: list[int] = []
        chances: list[float] = []
        all_right = 1.0
        while len(ids) < min(most, room) and (not ids or model.alone):
            start = perf_counter()
            item = BatchItem(self._sequence, pending, [len(pending) - 1], "top_logits", MOST_TOP)
            (rows,) = engine.forward([item])
            if len(pending) == 1:
                model.passed(perf_counter() - start)
            token, probability = _likeliest(rows[0][: model.tokens])
            chance = model.chances[probability]
            all_right *= chance
            if ids and all_right < model.least_chance:
                break
            ids.append(token)
            chances.append(chance)
            self._probabilities.append(probability)
            pending = [token]
        self._idle, self._wait = 0, _LOOK_AGAIN if pays else self._wait * _PATIENCE
        return Draft(ids, chances)

    def judge(self, tested: int, right: int) -> None:
        """See Drafter."""
        if tested and self._probabilities:
            self._model.first += 0.05 * ((right > 0) - self._model.first)
        for place in range(min(tested, right + 1, len(self._probabilities))):
            self._model.chances.note(self._probabilities[place], place < right)

    def forget(self) -> None:
        """Free the memory of its text; the next draft reads the text again."""
        self._sequence.truncate(0)
        self._common = 0

    def _unread(self) -> list[int]:
        """Return the tokens of the text that the sequence lacks. If they are too many, read a piece and return none."""
        held = self._sequence.ids
        while self._common < min(len(held), len(self._text) - 1) and held[self._common] == self._text[self._common]:
            self._common += 1
        if len(held) > self._common:
            self._sequence.truncate(self._common)
        missing = self._text[self._common :]
        if len(missing) <= PIECE:
            return missing
        self._model.engine.forward([BatchItem(self._sequence, missing[:PIECE], [])])
        return []


def _likeliest(row: NDArray[np.float32]) -> tuple[int, float]:
    """The token with the largest logit, and its probability among those that the row has."""
    token = int(np.argmax(row))
    there = row[np.isfinite(row)].astype(np.float64)
    return token, float(1 / np.exp(there - there.max()).sum()) if len(there) else 0.0
