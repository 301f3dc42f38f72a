"""Times one run of a case with the code that answers users: prompt chunks, forward pass, sampler, detokenizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, cast

import numpy as np

from qwen3cpu.bench.cases import Case
from qwen3cpu.engine.batch import MOST_TOP, BatchItem
from qwen3cpu.engine.engine import CHUNK, Engine, check_length
from qwen3cpu.engine.sampling import THINKING
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import Batch
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.surroundings import Surroundings
from qwen3cpu.model import Model

PASSES = 2
"""Passes whose mean is one measured time."""


@dataclass(frozen=True)
class Run:
    """Times of one run, in seconds."""

    tokens: int
    """Processed or chosen tokens, all sequences together."""
    seconds: float
    native_seconds: float
    """The part of `seconds` inside the compiled engine; the rest is Python, sampling and detokenizing."""
    first_token_seconds: float
    """From the call to the first token of the last sequence to get one."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict, for JSON."""
        return asdict(self)


class _TimedModel:
    """Wraps the compiled model and adds up the time inside its forward pass."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def forward(self, batch: Any) -> Any:
        """Run and time the compiled model's forward pass."""
        start = perf_counter()
        try:
            return self._native.forward(batch)
        finally:
            self.seconds += perf_counter() - start


class Bench:
    """A model, and sequences that are filled once and from which every repetition starts.

    Args:
        model: measured with the sampling that its authors recommend for thinking.
        seed: of the random prompts.
    """

    def __init__(self, model: Model, seed: int = 0) -> None:
        self._model = model
        self._timer = _TimedModel(model.engine.native)
        self._engine = Engine(cast(Any, self._timer), vocab_size=model.engine.vocab_size, context=model.engine.context)
        # No end tokens: an answer has the length that the case says.
        self._surroundings = Surroundings(self._engine, model.tokenizer, frozenset())
        self._rng = np.random.default_rng(seed)
        self._tokens = min(model.tokenizer.size, model.engine.vocab_size)
        self._filled: list[TokenSequence] = []

    def run(self, case: Case) -> Run:
        """Measure a case once.

        Raises:
            ContextLengthError: the case does not fit into the model's context.
        """
        check_length(case.positions, self._engine.context)
        self._model.threads = case.threads
        sequences = [self._starting_point(index, case.depth) for index in range(case.batch)]
        try:
            # A decode run begins with a prompt of one more token, so each step feeds one token and chooses one.
            prompts = [sequence.ids + self._random_ids(case.n_prompt or 1) for sequence in sequences]
            return self._time(case, sequences, prompts)
        finally:
            for sequence in sequences:
                sequence.release()

    def time_pass(self, tokens: int, depth: int, threads: int) -> float:
        """Seconds of a pass over `tokens` tokens of one sequence, with top logits for each of them.

        It is the mean of PASSES passes, each of which begins after `depth` positions.
        """
        check_length(depth + tokens, self._engine.context)
        self._model.threads = threads
        sequence = self._starting_point(0, depth)
        try:
            ids, seconds = self._random_ids(tokens), 0.0
            for _ in range(PASSES):
                start = perf_counter()
                self._engine.forward([BatchItem(sequence, ids, range(tokens), "top_logits", MOST_TOP)])
                seconds += perf_counter() - start
                sequence.truncate(depth)
            return seconds / PASSES
        finally:
            sequence.release()

    def _time(self, case: Case, sequences: list[TokenSequence], prompts: list[list[int]]) -> Run:
        request = Request(sampling=THINKING, max_new_tokens=case.n_gen or 1, ignore_eos=True)
        batch = Batch(self._engine)
        waiting = set(range(case.batch))
        native_before = self._timer.seconds
        start = first_token = perf_counter()
        for index, (sequence, prompt) in enumerate(zip(sequences, prompts, strict=True)):
            batch.add(Answer(self._surroundings, prompt, request, index=index, sequence=sequence))
        while len(batch):
            chunks = batch.step()
            if waiting and chunks:
                waiting.difference_update(chunk.index for chunk in chunks)
                first_token = perf_counter()
        return Run(
            tokens=case.tokens,
            seconds=perf_counter() - start,
            native_seconds=self._timer.seconds - native_before,
            first_token_seconds=first_token - start,
        )

    def _starting_point(self, index: int, depth: int) -> TokenSequence:
        """A sequence of `depth` tokens that shares the memory of the filled one; every index has its own memory."""
        while len(self._filled) <= index:
            self._filled.append(self._engine.new_sequence())
        filled = self._filled[index]
        while filled.length < depth:
            count = min(CHUNK, depth - filled.length)
            self._engine.forward([(filled, self._random_ids(count), [])])
        sequence = filled.fork()
        sequence.truncate(depth)
        return sequence

    def _random_ids(self, count: int) -> list[int]:
        return [int(token) for token in self._rng.integers(self._tokens, size=count)]
