"""What one forward pass takes: new tokens of several sequences, and which rows of output are wanted for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.engine.sequence import TokenSequence

Output: TypeAlias = Literal["logits", "hidden", "top_logits"]
"""What comes back for a wanted token: its logits [vocab_size]; or the hidden state [hidden_size] that the head would
multiply, which is the residual stream after the last layer and the final norm; or the logits with -inf for rows of the
head without a token and for tokens of which `top` others have larger ones, if the head finds these in less time."""
LEAST_TOP_TOKENS = _native.LEAST_TOP_TOKENS
"""Tokens of a vocabulary from which on the first part of a head in two parts finds the largest logits."""
MOST_TOP = 64
"""Of the largest logits that "top_logits" may be asked for."""


class BatchItem(NamedTuple):
    """New tokens of one sequence."""

    sequence: TokenSequence
    ids: Sequence[int]
    """At least one."""
    wanted: Sequence[int]
    """Offsets into `ids`, ascending, may be empty."""
    output: Output = "logits"
    top: int = MOST_TOP
    """How many of the largest logits "top_logits" has; mostly there are some more."""


Items: TypeAlias = Sequence[BatchItem | tuple[TokenSequence, Sequence[int], Sequence[int]]]
"""Batch items, or the first three fields of them."""
Rows: TypeAlias = list[NDArray[np.float32]]
"""For each item float32 [len(wanted), vocab_size or hidden_size]."""
