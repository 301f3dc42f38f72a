"""The cases that are measured, and the sweep over lists of settings from the command line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from qwen3cpu.bench.errors import BenchError

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """Either a prompt of n_prompt tokens (n_gen 0) or n_gen decode steps (n_prompt 0), for `batch` sequences at once.

    depth: tokens that each sequence already holds.
    """

    n_prompt: int
    n_gen: int
    depth: int
    batch: int
    threads: int
    quant: str | None
    kv: str

    @property
    def label(self) -> str:
        """A short name, as in "prompt 512" or "decode 128"."""
        return f"prompt {self.n_prompt}" if self.n_prompt else f"decode {self.n_gen}"

    @property
    def tokens(self) -> int:
        """Tokens processed in a run, all sequences together."""
        return self.batch * (self.n_prompt or self.n_gen)

    @property
    def positions(self) -> int:
        """Positions that each sequence needs; a decode run begins with the last token of a prompt."""
        return self.depth + self.n_prompt + self.n_gen + 1

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Sweep:
    """Lists of settings; the cases are all their combinations. 0 in n_prompt or n_gen leaves that kind out."""

    n_prompt: Sequence[int]
    n_gen: Sequence[int]
    depth: Sequence[int]
    batch: Sequence[int]
    threads: Sequence[int]
    quant: Sequence[str | None]
    kv: Sequence[str]

    def cases(self) -> list[Case]:
        """Every combination once, prompts before decoding. Raises BenchError for an empty sweep."""
        kinds = [(n, 0) for n in self.n_prompt if n] + [(0, n) for n in self.n_gen if n]
        settings = itertools.product(self.quant, self.kv, self.threads, self.batch, self.depth, kinds)
        cases = [
            Case(n_prompt, n_gen, depth, batch, threads, quant, kv)
            for quant, kv, threads, batch, depth, (n_prompt, n_gen) in settings
        ]
        if not cases:
            raise BenchError("-p, -n: expected at least one above 0, found both 0: there is nothing to measure")
        return list(dict.fromkeys(cases))


def whole_numbers(text: str, least: int, most: int) -> list[int]:
    """Read whole numbers in [least, most], separated by commas. Raises ValueError for anything else."""

    def read(item: str) -> int:
        if not (item.isascii() and item.isdigit() and least <= int(item) <= most):
            raise ValueError(f"expected whole numbers from {least} to {most} separated by commas, found {item!r}")
        return int(item)

    return _items(text, read)


def names(text: str, known: Sequence[str]) -> list[str]:
    """Read names out of `known`, separated by commas. Raises ValueError for anything else."""

    def read(item: str) -> str:
        if item not in known:
            raise ValueError(f"expected names out of {', '.join(known)} separated by commas, found {item!r}")
        return item

    return _items(text, read)


def _items(text: str, read: Callable[[str], T]) -> list[T]:
    return list(dict.fromkeys(read(item.strip()) for item in text.split(",")))
