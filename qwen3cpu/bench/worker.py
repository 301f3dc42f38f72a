"""The worker process: holds one model, or measures the machine's peaks. process.py starts it.

With a process for each model their peak memory is separate, and their runs can alternate without loading a model again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from time import perf_counter
from typing import Any, Final

from qwen3cpu.bench.cases import Case
from qwen3cpu.bench.limits import model_costs
from qwen3cpu.bench.runs import Bench
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT
from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.loading.random_weights import synthetic_checkpoint
from qwen3cpu.model import Model
from qwen3cpu.system.instruction_sets import chosen_isa
from qwen3cpu.system.peaks import measure_peaks
from qwen3cpu.system.process_limits import peak_memory

FIRST_PROMPT: Final = 16
"""Tokens of the prompt of the first run after loading."""


class Server:
    """Answers the requests of `process.Worker`; the methods are the operations."""

    def __init__(self) -> None:
        self._bench: Bench | None = None

    def open(
        self,
        *,
        model: str | None,
        synthetic: str | None,
        quant: str | None,
        kv: str,
        threads: int,
        activations: str = DEFAULT_ACTIVATIONS,
    ) -> dict[str, Any]:
        """Load a checkpoint, or make one of the size `synthetic`."""
        start = perf_counter()
        if synthetic is not None:
            checkpoint = synthetic_checkpoint(synthetic, quant or DEFAULT_QUANT, threads=threads)
        else:
            assert model is not None
            checkpoint = open_checkpoint(model, quant, threads=threads)
        loaded = Model(checkpoint, kv=kv, activations=activations, context=None, threads=threads)
        load_seconds = perf_counter() - start
        self._bench = Bench(loaded)
        self._bench.run(Case(FIRST_PROMPT, 0, depth=0, batch=1, threads=threads, quant=quant, kv=kv))
        first_token_seconds = perf_counter() - start
        on_disk = synthetic is None
        return {
            "model": loaded.source,
            "quant": loaded.quant,
            "context": loaded.context,
            "parameters": loaded.config.parameters(),
            "weight_bytes": loaded.weight_bytes,
            "load_seconds": load_seconds if on_disk else None,
            "load_to_first_token_seconds": first_token_seconds if on_disk else None,
            "isa": chosen_isa(),
            "costs": model_costs(checkpoint, loaded.kv_bytes_per_token).as_dict(),
        }

    def run(self, *, case: dict[str, Any]) -> dict[str, Any]:
        """Measure a case once. The peak of memory is that of the whole process so far."""
        assert self._bench is not None, "open comes first"
        return {**self._bench.run(Case(**case)).as_dict(), "peak_rss_bytes": peak_memory()}

    def time_pass(self, *, tokens: int, depth: int, threads: int) -> dict[str, Any]:
        """Measure a pass over `tokens` tokens once."""
        assert self._bench is not None, "open comes first"
        return {"seconds": self._bench.time_pass(tokens, depth, threads)}

    def peaks(self, *, threads: int, model_bytes: int) -> dict[str, Any]:
        """Measure the machine's peaks once."""
        return asdict(measure_peaks(threads, model_bytes))


def main() -> None:
    """Answer requests until stdin ends or the parent is gone."""
    # The parent gets the same Ctrl-C and reports it.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(Server())


def serve(server: object) -> None:
    """Read requests from stdin, call the methods of `server` that they name, and write the answers to stdout."""
    # The parent expects only answers on stdout, so all other output goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("op"))(**request)
        except (Qwen3CpuError, MemoryError) as error:
            answer = {"error": str(error) or type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
