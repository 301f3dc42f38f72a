"""Problems, the registry of their kinds, and the split into training and held-out problems.

A kind is a function that draws the numbers of a problem, words it, and works it out. The key of a problem is its
canonical form: kind and numbers, but not the wording. A problem is held out by a hash of the key. So no wording of a
held-out problem is ever trained on.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

HELD_OUT_ONE_IN = 16


@dataclass(frozen=True)
class Problem:
    """One question with its working and its answer; `steps` is "single", "multi" or "fact"."""

    kind: str
    steps: str
    key: str
    question: str
    thinking: str
    answer: str

    @property
    def held_out(self) -> bool:
        """Whether the hash of the canonical problem keeps it out of training (facts cannot be held out)."""
        if self.steps == "fact":
            return False
        digest = hashlib.sha256(self.key.encode()).digest()
        return int.from_bytes(digest[:4], "big") % HELD_OUT_ONE_IN == 0


@dataclass(frozen=True)
class Draft:
    """A problem without its kind, the result of a kind's function."""

    key: str
    question: str
    thinking: str
    answer: str


Draw = Callable[[random.Random], Draft]


@dataclass(frozen=True)
class Kind:
    """A row of the registry; `weight` is its share among all kinds, `late` its share in the late part of training."""

    name: str
    steps: str
    weight: float
    late: float
    draw: Draw


KINDS: dict[str, Kind] = {}


def kind(name: str, steps: str, weight: float, late: float | None = None) -> Callable[[Draw], Draw]:
    """Register the decorated function as the kind `name`; `late` is for kinds that are learned last."""

    def register(draw: Draw) -> Draw:
        KINDS[name] = Kind(name, steps, weight, weight if late is None else late, draw)
        return draw

    return register


def draw_problem(rng: random.Random, *, held_out: bool, name: str | None = None, late: bool = False) -> Problem:
    """Draw a problem from the training side or the held-out side, of one kind or of any by weight."""
    while True:
        rows = list(KINDS.values())
        row = KINDS[name] if name else rng.choices(rows, [r.late if late else r.weight for r in rows])[0]
        draft = row.draw(rng)
        problem = Problem(row.name, row.steps, draft.key, draft.question, draft.thinking, draft.answer)
        if problem.held_out == held_out:
            return problem
