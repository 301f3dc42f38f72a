"""The compiled loops of the sampler (_sampling.pyx). Its only user, engine/sampling.py, checks the arguments."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

WEIGHT_OF_BEST: int
"""2**44: the weight of the token with the largest logit."""
MAX_VOCAB_SIZE: int
"""2**18: the product with WEIGHT_OF_BEST still fits into 63 bits."""

def random_word(seed: int, stream: int, index: int, second: bool = False) -> int:
    """Equal to numpy.random.Philox(key=[seed, stream], counter=index).random_raw(). All numbers in [0, 2**64).

    second: the word that random_raw gives next.
    """

def weights_of(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """round(2**44 * exp(distances)) [n], for distances [n] <= 0."""

class Breakers(Protocol):
    """Says which tokens end a sequence for DRY."""

    def push(self, token: int) -> bool:
        """Record the next token; return whether it ends a sequence."""

    def breaks(self, token: int) -> bool:
        """Whether this token would end a sequence if it came next."""

@final
class Repeats:
    """What DRY knows of one answer: its tokens, prompt included, and where a sequence ended."""

    def __new__(
        cls,
        *,
        vocab_size: int,
        multiplier: float,
        base: float,
        allowed_length: int,
        last_n: int,
        breakers: Breakers | None,
        prompt: Sequence[int],
    ) -> Self: ...
    def push(self, token: int) -> None:
        """Record a token in [0, vocab_size)."""

    def penalties(self) -> list[tuple[int, float]]:
        """(token, penalty of its logit) for each token that would continue a repetition. Releases the GIL."""

@final
class LogitsSampler:
    """State and scratch of one answer; used by one thread at a time, EngineError otherwise."""

    def __new__(
        cls,
        *,
        vocab_size: int,
        token_limit: int,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        top_n_sigma: float,
        typical_p: float,
        xtc_probability: float,
        xtc_threshold: float,
        presence_penalty: float,
        frequency_penalty: float,
        repetition_penalty: float,
        logit_bias: Mapping[int, float],
        prompt: Iterable[int],
        repeats: Repeats | None,
        seed: int,
        stream: int,
    ) -> Self: ...
    def sample(self, logits: NDArray[np.float32]) -> int:
        """A token for logits [vocab_size], C-contiguous; counts it. Releases the GIL."""

    def accept(self, token: int) -> None:
        """Count a token in [0, vocab_size)."""

    def distribution(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(ids [n] ascending, weights [n]) of the tokens that `sample` would draw from."""

    def logprobs(self, logits: NDArray[np.float32], token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
        """Log softmax of `token` and of the `top` best ids below token_limit, best first. Releases the GIL."""
