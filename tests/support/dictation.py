"""Dictates answers: the whole engine runs, but the test chooses each token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qwen3cpu
from qwen3cpu.engine.sampling import Sampler
from qwen3cpu.generation import answer


def dictate(monkeypatch: pytest.MonkeyPatch, model: qwen3cpu.Model, *outputs: str | Sequence[int]) -> None:
    """Let the next answers have these outputs, one each: ids, or text with control tokens in their spelling.

    After its output an answer ends with <|im_end|>.
    """
    waiting = iter(outputs)

    class Dictated(Sampler):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            output = next(waiting)
            ids = model.tokenizer.encode(output, control_tokens=True) if isinstance(output, str) else output
            self._rest = iter(ids)

        def sample(self, logits: NDArray[np.float32]) -> int:
            super().sample(logits)
            assert model.tokenizer.im_end is not None
            return next(self._rest, model.tokenizer.im_end)

    monkeypatch.setattr(answer, "Sampler", Dictated)
