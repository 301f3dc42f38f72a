"""The engine, tokenizer and other objects that all answers of one model share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.engine.drafts import Drafter
from qwen3cpu.engine.engine import Engine
from qwen3cpu.generation.grammar import Grammars
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.speculation import Speculation
from qwen3cpu.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Surroundings:
    """The objects that all answers of one model share."""

    engine: Engine
    tokenizer: Tokenizer
    eos_token_ids: frozenset[int]
    grammars: Grammars | None = None
    """For answers with a grammar."""
    clock: Callable[[], float] = perf_counter
    """Seconds, for deadlines and timings."""
    make_drafters: Callable[[], Sequence[Drafter]] | None = None
    """Makes the drafters of one answer, with which a pass may bring several tokens; None: each pass brings one."""
    find_adapter: Callable[[str], Adapter] | None = None
    """Finds an adapter by name; raises ArgumentError for an unknown name. None: the model has no adapters."""

    def with_drafter(self, make: Callable[[], Drafter]) -> Surroundings:
        """Return a copy with one more source of drafts. make: makes the drafter of one answer."""
        others = self.make_drafters or (lambda: [])
        return replace(self, make_drafters=lambda: [*others(), make()])

    def speculation(self, prompt: Sequence[int], request: Request) -> Speculation | None:
        """The drafts of an answer; None if it has none."""
        drafters = self.make_drafters() if self.make_drafters is not None and request.speculate else ()
        return Speculation(drafters, self.engine.vocab_size, request.expected, prompt) if drafters else None
