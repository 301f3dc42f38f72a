"""What all answers of one model share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.engine.drafts import Drafter
from qwen3cpu.engine.engine import Engine
from qwen3cpu.generation.grammar import Grammars
from qwen3cpu.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Surroundings:
    """What all answers of one model share."""

    engine: Engine
    tokenizer: Tokenizer
    eos_token_ids: frozenset[int]
    grammars: Grammars | None = None
    """For answers with a grammar."""
    clock: Callable[[], float] = perf_counter
    """Seconds, for deadlines and timings."""
    drafter: Drafter | None = None
    """Proposes tokens, so that one forward pass may bring several; None: each brings one."""
    find_adapter: Callable[[str], Adapter] | None = None
    """The adapter of a name; raises ArgumentError when there is none. None: the model has no adapters."""
