"""Token healing: the last tokens of a raw prompt are taken back, and the answer chooses new tokens for their text.

A prompt that is cut inside a word ends in tokens that no whole text has there. The model has learned from whole texts:
after "inter", cut from "international", it would not write "national". So the answer begins with the bytes that were
taken back, in tokens of the model's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.text.tokenizer import Tokenizer

BESIDE_A_FORM = "token_healing: cannot be used with schema, regex, choices or grammar"
"""The error for an answer with a form: it has to follow the form from its first character, so it cannot be healed."""


class Healing:
    """The bytes with which one answer has to begin.

    Args:
        tokenizer: the model's.
        prompt: ids.
        asked: False takes nothing back.

    Attributes:
        prompt: the ids that are left.
        owed: those of the bytes that the answer has not written yet.
        taken: all of these bytes.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], asked: bool) -> None:
        self._tokenizer = tokenizer
        count, self.taken = taken_back(tokenizer, prompt) if asked else (0, b"")
        self.prompt = tuple(prompt[: len(prompt) - count])
        self.owed = self.taken

    def choose(self, logits: NDArray[np.float32], sample: Callable[[NDArray[np.float32]], int]) -> int:
        """Choose a token that continues the owed bytes, with `sample`, from the logits [vocab_size]."""
        allowed = self._tokenizer.beginnings.along(self.owed)
        allowed = allowed[allowed < len(logits)]
        masked = np.full_like(logits, -np.inf)
        masked[allowed] = logits[allowed]
        token = sample(masked)
        self.owed = self.owed[len(self._tokenizer.token_bytes(token)) :]
        return token


def taken_back(tokenizer: Tokenizer, prompt: Sequence[int]) -> tuple[int, bytes]:
    """How many tokens at the end of a prompt are taken back, and their bytes.

    As many tokens as possible are taken whose bytes together are the beginning of one longer token. The first token
    stays, because a prompt needs at least one. A control token stays, and so do the tokens before it.
    """
    control = set(tokenizer.control_tokens.values())
    beginnings = tokenizer.beginnings
    tail, taken, count = b"", b"", 0
    for number in range(1, len(prompt)):
        token = prompt[-number]
        if token in control or token >= tokenizer.size:
            break
        tail = tokenizer.token_bytes(token) + tail
        if len(tail) >= beginnings.longest:
            break
        if beginnings.has_longer(tail):
            taken, count = tail, number
    return count, taken
