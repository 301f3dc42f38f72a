"""What one forward pass takes: new tokens of several sequences, and which rows of output are wanted for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.sequence import TokenSequence

Output: TypeAlias = Literal["logits", "hidden"]
"""What comes back for a wanted token: its logits [vocab_size], or the hidden state [hidden_size] that the head would
multiply, which is the residual stream after the last layer and the final norm."""


class BatchItem(NamedTuple):
    """New tokens of one sequence."""

    sequence: TokenSequence
    ids: Sequence[int]
    """At least one."""
    wanted: Sequence[int]
    """Offsets into `ids`, ascending, may be empty."""
    output: Output = "logits"


Items: TypeAlias = Sequence[BatchItem | tuple[TokenSequence, Sequence[int], Sequence[int]]]
"""Batch items, or the first three fields of them."""
Rows: TypeAlias = list[NDArray[np.float32]]
"""For each item float32 [len(wanted), vocab_size or hidden_size]."""
