"""Functions of the caller that change the logits of an answer before its next token is chosen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError, Qwen3CpuError
from qwen3cpu.generation.results import Chunk
from qwen3cpu.generation.token_masks import DeadEndError

Processor = Callable[[list[int], NDArray[np.float32]], Any]
"""f(ids, logits): the ids of prompt and answer so far, and float32 [vocab_size], which it changes in place."""


class ProcessorError(Qwen3CpuError):
    """A processor has failed, or has left logits from which no token can be chosen. It ends only its own answer.

    Args:
        error: what was raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def checked_processors(given: object) -> tuple[Processor, ...]:
    """Check the option `processors`. ArgumentError for anything but a list of functions."""
    if given is None:
        return ()
    if not isinstance(given, (list, tuple)):
        raise ArgumentError(f"processors: expected a list of functions, found {type(given).__name__}")
    for place, each in enumerate(given):
        if not callable(each):
            raise ArgumentError(f"processors[{place}]: expected a function, found {type(each).__name__}")
    return tuple(given)


class Processing:
    """The processors of one answer. Once one has failed, none is called again, and every choice raises its error.

    Args:
        processors: the functions, in order.
    """

    def __init__(self, processors: Sequence[Processor]) -> None:
        self._processors = processors
        self._failed: ProcessorError | None = None

    def choose(self, ids: list[int], logits: NDArray[np.float32], choose: Callable[[NDArray[np.float32]], int]) -> int:
        """Apply the processors to logits [vocab_size], and return the token that `choose` takes from the result.

        Raises:
            ProcessorError: one of them has failed, or no token can be chosen.
            DeadEndError: the grammar of the answer allows no token.
        """
        if self._failed is not None:
            raise self._failed
        try:
            return choose(_processed(self._processors, ids, logits))
        except DeadEndError:
            raise
        except Exception as error:
            self._failed = ProcessorError(_for_streams(error))
            raise self._failed from error


def _for_streams(error: Exception) -> Exception:
    """An error that a generator can raise. The two that end a loop would become a RuntimeError."""
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    wrong = ArgumentError(f"processors: expected an error that streams raise, found {type(error).__name__}")
    wrong.__cause__ = error
    return wrong


def _processed(processors: Sequence[Processor], ids: list[int], logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the processors, in order, to a copy of logits [vocab_size] that no other answer sees, and return it.

    Raises:
        ArgumentError: one returned something other than None or the array that it got, or left NaN or +inf.
        Exception: an error that a processor raises.
    """
    row = np.array(logits, dtype=np.float32)
    for place, processor in enumerate(processors):
        returned = processor(list(ids), row)
        if returned is not None and returned is not row:
            expected = "expected a function that changes the logits in place and returns nothing"
            raise ArgumentError(f"processors[{place}]: {expected}, found {type(returned).__name__}")
        wrong = np.flatnonzero(np.isnan(row) | np.isposinf(row))
        if wrong.size:
            token = int(wrong[0])
            raise ArgumentError(f"processors[{place}]: expected numbers or -inf, found {row[token]} for token {token}")
    return row


def raising(chunks: Generator[Chunk, None, None]) -> Generator[Chunk, None, None]:
    """The stream of a single answer; an error that ended it is raised instead of its last chunk."""
    with closing(chunks):
        for chunk in chunks:
            if chunk.result is not None and chunk.result.error is not None:
                raise chunk.result.error
            yield chunk
