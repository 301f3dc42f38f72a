"""Draws faults by a seed: operators and languages in turn, and for each a place with equal probabilities."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import NamedTuple

from mutation.places import OPERATORS, Fault, Place, fault_at
from mutation.sources import files_of, git, is_native, places_of
from mutation.tree import CompileError, Tree


class Candidate(NamedTuple):
    """A place and its file."""

    file: str
    text: str
    place: Place


Cell = tuple[str, bool]  # operator, whether the file is compiled


def candidates(commit: str) -> dict[Cell, list[Candidate]]:
    """All places of a commit for each operator and kind of file."""
    found: dict[Cell, list[Candidate]] = {(operator, native): [] for operator in OPERATORS for native in (False, True)}
    for file in files_of(commit):
        text = git("show", f"{commit}:{file}")
        for place in places_of(file, text):
            found[place.operator, is_native(file)].append(Candidate(file, text, place))
    return found


def cells_in_turn(random_: random.Random, cells: list[Cell]) -> Iterator[Cell]:
    """The cells in rounds, each in a new order, so that operators and languages come equally often."""
    while True:
        yield from random_.sample(cells, len(cells))


def draw(seed: int, count: int, commit: str, tree: Tree) -> tuple[list[Fault], int]:
    """`count` faults of a commit that compile, and the number of drawn faults that did not. No test runs."""
    random_ = random.Random(seed)
    places = candidates(commit)
    faults: list[Fault] = []
    broken = 0
    for cell in cells_in_turn(random_, list(places)):
        while len(faults) < count and places[cell]:
            chosen = places[cell].pop(random_.randrange(len(places[cell])))
            name = f"F{len(faults) + 1:02d}"
            fault = fault_at(chosen.place, chosen.text, name=name, file=chosen.file, commit=commit)
            if compiles(fault, tree):
                print(f"{name} {fault.operator}: {fault.file}:{fault.line}", file=sys.stderr)
                faults.append(fault)
                break
            broken += 1
        if len(faults) == count:
            return faults, broken
    raise AssertionError("cells_in_turn ends")


def compiles(fault: Fault, tree: Tree) -> bool:
    """Whether the tree can be built with the fault in it. The fault is taken out again."""
    try:
        before = tree.put(fault)
    except CompileError:
        return False
    tree.write(fault.file, before)
    return True
