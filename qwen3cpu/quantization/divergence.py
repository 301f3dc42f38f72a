"""Log-probabilities for comparing distributions over the vocabulary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log-probabilities [n, vocab_size] of logits [n, vocab_size]. The sum is computed in float64."""
    shifted: NDArray[np.float32] = logits - logits.max(1, keepdims=True)
    total = np.exp(shifted).sum(1, keepdims=True, dtype=np.float64)
    shifted -= np.log(total).astype(np.float32)
    return shifted
