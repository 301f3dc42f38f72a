"""The input of one forward pass: new tokens of several sequences, and the rows of output wanted for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.engine.sequence import TokenSequence

Output: TypeAlias = Literal["logits", "hidden", "top_logits"]
"""The output for a wanted token. "logits": its logits [vocab_size]. "hidden": the hidden state [hidden_size], which is
the residual stream after the last layer and the final norm, the input of the head. "top_logits": the logits, but if the
head finds the largest ones faster, -inf for rows without a token and for tokens with `top` larger ones."""
LEAST_TOP_TOKENS = _native.LEAST_TOP_TOKENS
"""Smallest vocabulary in which the first part of a head in two parts finds the largest logits."""
MOST_TOP = 64
"""Most logits that "top_logits" may be asked for."""


class BatchItem(NamedTuple):
    """New tokens of one sequence."""

    sequence: TokenSequence
    ids: Sequence[int]
    """At least one."""
    wanted: Sequence[int]
    """Offsets into `ids`, ascending, may be empty."""
    output: Output = "logits"
    top: int = MOST_TOP
    """How many of the largest logits "top_logits" has at least; usually it has a few more."""


Items: TypeAlias = Sequence[BatchItem | tuple[TokenSequence, Sequence[int], Sequence[int]]]
"""Batch items, or the first three fields of them."""
Rows: TypeAlias = list[NDArray[np.float32]]
"""For each item float32 [len(wanted), vocab_size or hidden_size]."""
