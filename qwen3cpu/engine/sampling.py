"""Sampling: the checked settings, and the sampler that chooses the tokens of one answer.

The loops over the logits are in _sampling.pyx. The rules, in the order in which they apply:

1. repetition_penalty r, to every token of the prompt and of the answer: logit * r below zero, logit / r otherwise.
2. presence_penalty p and frequency_penalty f, to the tokens of the answer: logit - p - f * count.
3. DRY, to tokens that would continue a repetition: logit - dry_multiplier * dry_base ** (n - dry_allowed_length).
   The text is the last dry_penalty_last_n tokens of prompt and answer. Here n is the length of the longest end of the
   text that also stands before such a token elsewhere in it. There is no penalty when n is below dry_allowed_length.
   The end is counted back to the last token that completes one of dry_sequence_breakers (text/sequence_breakers.py).
   Such tokens are not penalised.
4. logit_bias is added. -inf bans a token; +inf leaves only the tokens that have it, at their own logits.
   The sum of 1 to 4 is computed in float64 and rounded to float32 once.
5. temperature 0 takes the largest logit. Otherwise the weight of a token is exp((logit - largest) / temperature).
6. top_n_sigma n drops what is less than largest - n * s, s being the standard deviation of all logits but -inf.
7. top_k keeps the k tokens with the largest logits.
8. typical_p goes through the tokens by the distance of their surprise -log(p) from the entropy, nearest first. It keeps
   a token while those before it have less than typical_p of the probability, at temperature 1 among the tokens left so
   far. Distances are compared in steps of 2**-20 octaves, as float32; of equal ones the lower id comes first.
9. top_p goes through the tokens, best first. It keeps a token while those before it have less than top_p of the weight
   that is left so far.
10. min_p drops what is less likely than min_p times the best token left.
11. XTC, with the probability xtc_probability, drops the tokens that have xtc_threshold of the probability or more. The
    least likely of them stays, and of equal ones the highest id. The probabilities are those at temperature 1 among the
    tokens left.
12. One token is drawn in proportion to the weights, tokens in ascending order of id.

Between equal logits the lower id is the better one. Ids from token_limit on (rows of the head without a token) are
never candidates. The order of 1 to 11 is llama.cpp's, where the temperature comes last. Here top_p and min_p look at
the probabilities after the temperature, as in Hugging Face transformers. Presence and frequency penalty are OpenAI's.

Weights are integers, round(2**44 * exp(.)), with exact sums. With 8 or 11 on, a token whose weight is zero both at the
temperature and at 1 is dropped before 7. Weights are then relative to the best token that 8, or 11, has left.

The token at place i of an answer uses the random word `numpy.random.Philox(key=[seed, stream], counter=i).random_raw()`
and XTC the next word. No other random numbers are used. So an answer can be repeated from its seed on any machine,
together with any other answers, and in NumPy.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu._sampling import MAX_VOCAB_SIZE, LogitsSampler, Repeats
from qwen3cpu.arguments import as_whole, shown
from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.sequence_breakers import SequenceBreakers, TokenTexts
from qwen3cpu.text.tokenizer import check_text

MOST_BREAKERS = 64
"""Most sequence breakers, and most characters of one."""

_WORD = 1 << 64
_SEED_RANGE = "an integer from 0 to 2**64 - 1"
_LARGEST_FLOAT = float(np.finfo(np.float64).max)
_SMALLEST_FLOAT = float(np.nextafter(0.0, 1.0))


def _real(name: str, value: object, *, low: float, high: float, allowed: str) -> float:
    """`value` as a float in [low, high]; ArgumentError otherwise, also for NaN and bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ArgumentError(f"{name} must be {allowed}, got {shown(value)} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not low <= number <= high:
        raise ArgumentError(f"{name} must be {allowed}, got {shown(value)}")
    return number


def _amount(name: str, value: object) -> float:
    return _real(name, value, low=0.0, high=_LARGEST_FLOAT, allowed="a finite number >= 0")


def _share(name: str, value: object) -> float:
    return _real(name, value, low=0.0, high=1.0, allowed="a number from 0 to 1")


def _penalty(name: str, value: object) -> float:
    return _real(name, value, low=-2.0, high=2.0, allowed="a number from -2 to 2")


def _integer(name: str, value: object, *, low: int, high: int | None, allowed: str) -> int:
    """`value` as an int in [low, high); ArgumentError otherwise, also for bool."""
    number = as_whole(value)
    if number is None:
        raise ArgumentError(f"{name} must be {allowed}, got {shown(value)} of type {type(value).__name__}")
    if number < low or (high is not None and number >= high):
        raise ArgumentError(f"{name} must be {allowed}, got {shown(number)}")
    return number


@dataclass(frozen=True)
class SamplingParams:
    """Settings of one answer, checked when made; ArgumentError names the field, what is allowed and what was given.

    temperature: >= 0; 0 is greedy, and the filters (top_k to xtc_threshold) then have no effect.
    top_k: tokens kept, 0 for all. top_p: share of the probability kept, in [0, 1]; the best token always stays.
    min_p: least probability as a share of the best token's, in [0, 1].
    top_n_sigma: standard deviations of the logits that a token may lie below the best one, >= 0; 0 for no limit.
    typical_p: share of the probability kept, in [0, 1]. Tokens whose surprise is nearest the entropy are kept first.
    xtc_probability: how often the likeliest tokens are excluded, in [0, 1]; 0 for never.
    xtc_threshold: the probability from which a token is one of them, in [0, 1]; the least likely of them stays.
    dry_multiplier: >= 0, in logits, 0 for none: the penalty of a token that would continue a repetition of
        dry_allowed_length tokens (>= 0). Each further token multiplies it by dry_base (>= 1).
    dry_penalty_last_n: how many tokens at the end of prompt and answer are searched for repetitions; -1 for all.
    dry_sequence_breakers: strings after which a repetition counts from zero, up to 64 of up to 64 characters. Control
        tokens such as <|im_end|> always do the same.
    presence_penalty, frequency_penalty: in [-2, 2], in logits. repetition_penalty: > 0, 1 for none.
    logit_bias: token id -> number added to its logit; -inf bans, +inf leaves only tokens that have it.
    seed: in [0, 2**64); None takes one from the operating system.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    top_n_sigma: float = 0.0
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    seed: int | None = None

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "temperature": _amount("temperature", self.temperature),
            "top_k": _integer("top_k", self.top_k, low=0, high=None, allowed="an integer >= 0 (0: all tokens)"),
            "top_p": _share("top_p", self.top_p),
            "min_p": _share("min_p", self.min_p),
            "top_n_sigma": _amount("top_n_sigma", self.top_n_sigma),
            "typical_p": _share("typical_p", self.typical_p),
            "xtc_probability": _share("xtc_probability", self.xtc_probability),
            "xtc_threshold": _share("xtc_threshold", self.xtc_threshold),
            "dry_multiplier": _amount("dry_multiplier", self.dry_multiplier),
            "dry_base": _real("dry_base", self.dry_base, low=1.0, high=_LARGEST_FLOAT, allowed="a finite number >= 1"),
            "dry_allowed_length": _integer(
                "dry_allowed_length", self.dry_allowed_length, low=0, high=None, allowed="an integer >= 0"
            ),
            "dry_penalty_last_n": _integer(
                "dry_penalty_last_n",
                self.dry_penalty_last_n,
                low=-1,
                high=None,
                allowed="an integer >= -1 (-1: all tokens, 0: none)",
            ),
            "dry_sequence_breakers": _checked_breakers(self.dry_sequence_breakers),
            "presence_penalty": _penalty("presence_penalty", self.presence_penalty),
            "frequency_penalty": _penalty("frequency_penalty", self.frequency_penalty),
            "repetition_penalty": _real(
                "repetition_penalty",
                self.repetition_penalty,
                low=_SMALLEST_FLOAT,
                high=_LARGEST_FLOAT,
                allowed="a finite number > 0 (1: none)",
            ),
            "logit_bias": _checked_bias(self.logit_bias),
        }
        if self.seed is not None:
            checked["seed"] = _integer("seed", self.seed, low=0, high=_WORD, allowed=_SEED_RANGE)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def greedy(self) -> bool:
        """Whether the largest logit is taken, with no random number."""
        return self.temperature == 0.0

    @property
    def looks_at(self) -> int | None:
        """How many of the largest logits decide which token is chosen; None: all of them."""
        every = (
            self.top_n_sigma > 0
            or self.typical_p < 1
            or self.xtc_probability > 0
            or self.dry_multiplier > 0
            or self.presence_penalty != 0
            or self.frequency_penalty != 0
            or self.repetition_penalty != 1
            or bool(self.logit_bias)
        )
        if every:
            return None
        return 1 if self.greedy else self.top_k or None

    def with_seed(self, seed: int) -> SamplingParams:
        """Return a copy with another seed, in [0, 2**64). The other fields are not checked again."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, seed=_integer("seed", seed, low=0, high=_WORD, allowed=_SEED_RANGE))
        return copy

    def replace(self, **changes: Any) -> SamplingParams:
        """Return a copy with some fields changed, checked again. An unknown field raises ArgumentError."""
        names = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise ArgumentError(f"unknown sampling parameter {name!r}: expected one of {', '.join(names)}")
        return dataclasses.replace(self, **changes)


def _checked_breakers(breakers: object) -> tuple[str, ...]:
    name = "dry_sequence_breakers"
    if not isinstance(breakers, (list, tuple)):
        found = f"{shown(breakers)} of type {type(breakers).__name__}"
        raise ArgumentError(f"{name} must be a list of strings, got {found}")
    if len(breakers) > MOST_BREAKERS:
        raise ArgumentError(f"{name} must be a list of at most {MOST_BREAKERS} strings, got {len(breakers)}")
    allowed = f"a string of 1 to {MOST_BREAKERS} characters"
    for place, breaker in enumerate(breakers):
        if not isinstance(breaker, str):
            found = f"{shown(breaker)} of type {type(breaker).__name__}"
            raise ArgumentError(f"{name}[{place}] must be {allowed}, got {found}")
        if not 1 <= len(breaker) <= MOST_BREAKERS:
            raise ArgumentError(f"{name}[{place}] must be {allowed}, got {len(breaker)} characters")
        check_text(breaker, f"{name}[{place}]")
    return tuple(breakers)


def _checked_bias(bias: object) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise ArgumentError(f"logit_bias must be a mapping of token id to number, got {type(bias).__name__}")
    checked: dict[int, float] = {}
    for token, value in bias.items():
        token = _integer("a token id in logit_bias", token, low=0, high=None, allowed="an integer >= 0")
        checked[token] = _real(
            f"logit_bias[{token}]", value, low=-math.inf, high=math.inf, allowed="a number, -inf or inf"
        )
    return checked


THINKING = SamplingParams(temperature=0.6, top_k=20, top_p=0.95)
"""What the authors of Qwen3 recommend with thinking on (never greedy)."""

NON_THINKING = SamplingParams(temperature=0.7, top_k=20, top_p=0.8)
"""What the authors of Qwen3 recommend with thinking off."""


class Sampler:
    """Chooses the tokens of one answer, one after the other. It belongs to that answer and to one thread at a time.

    params: the settings.
    vocab_size: length of a row of logits, at most 2**18. token_limit: ids from here on are never drawn, <= vocab_size.
    prompt: ids of the prompt, for repetition_penalty and DRY. stream: index of the answer among those of one seed.
    texts: the tokenizer, for dry_sequence_breakers; needed with DRY.
    Raises ArgumentError for ids that do not exist.

    seed: the seed in use, drawn from the operating system when params.seed is None.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        vocab_size: int,
        token_limit: int,
        prompt: Sequence[int] | NDArray[np.integer[Any]],
        stream: int = 0,
        texts: TokenTexts | None = None,
    ) -> None:
        self.params = params
        self.vocab_size = _integer(
            "vocab_size", vocab_size, low=1, high=MAX_VOCAB_SIZE + 1, allowed=f"an integer from 1 to {MAX_VOCAB_SIZE}"
        )
        self.token_limit = _integer(
            "token_limit",
            token_limit,
            low=1,
            high=self.vocab_size + 1,
            allowed=f"an integer from 1 to vocab_size = {self.vocab_size}",
        )
        self.stream = _integer("stream", stream, low=0, high=_WORD, allowed="an integer from 0 to 2**64 - 1")
        for token in params.logit_bias:
            if token >= self.token_limit:
                raise ArgumentError(f"logit_bias names token {token}: expected ids from 0 to {self.token_limit - 1}")
        # 53 bits, so that the seed survives JSON readers that know only doubles.
        self.seed = secrets.randbits(53) if params.seed is None else params.seed
        ids = _checked_prompt(prompt, self.vocab_size)
        self._logits_sampler = LogitsSampler(
            vocab_size=self.vocab_size,
            token_limit=self.token_limit,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            min_p=params.min_p,
            top_n_sigma=params.top_n_sigma,
            typical_p=params.typical_p,
            xtc_probability=params.xtc_probability,
            xtc_threshold=params.xtc_threshold,
            presence_penalty=params.presence_penalty,
            frequency_penalty=params.frequency_penalty,
            repetition_penalty=params.repetition_penalty,
            logit_bias=params.logit_bias,
            prompt=sorted(set(ids)),
            repeats=_repeats(params, self.vocab_size, ids, texts),
            seed=self.seed,
            stream=self.stream,
        )

    def sample(self, logits: NDArray[np.float32]) -> int:
        """Choose the next token, and count it for the penalties. Releases the GIL.

        logits: float32 [vocab_size], not modified; -inf bans a token.
        Raises EngineError naming the first position below token_limit that is NaN or +inf, and ArgumentError for
        another shape or dtype or when every token is banned. An error leaves the sampler unchanged.
        """
        return self._logits_sampler.sample(self._row(logits))

    def accept(self, token: int) -> None:
        """Count a token that was not sampled, for the penalties and as a place of the answer."""
        self._logits_sampler.accept(self._token("token", token))

    def distribution(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """(ids [n] ascending, probabilities [n]) of the tokens that `sample` would draw from. Nothing is counted.

        Raises like `sample`.
        """
        ids, weights = self._logits_sampler.distribution(self._row(logits))
        return ids, weights / weights.sum()

    def logprobs(self, logits: NDArray[np.float32], token: int, top: int = 0) -> tuple[float, list[tuple[int, float]]]:
        """Natural log of the probability of `token`, and the `top` likeliest (id, log probability), best first.

        The distribution is the model's own: log softmax over all of logits [vocab_size], without penalties, bias,
        temperature or filters. The alternatives are ids below token_limit, and fewer than `top` if the rest is -inf.
        Raises EngineError where a logit is NaN or +inf or all are -inf, ArgumentError for bad arguments.
        """
        top = _integer("top", top, low=0, high=None, allowed="an integer >= 0")
        return self._logits_sampler.logprobs(self._row(logits), self._token("token", token), min(top, self.token_limit))

    def _row(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        if not isinstance(logits, np.ndarray) or logits.dtype != np.float32 or logits.shape != (self.vocab_size,):
            found = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, np.ndarray) else type(logits).__name__
            raise ArgumentError(f"logits: expected a float32 array of shape [{self.vocab_size}], found {found}")
        return np.require(logits, np.float32, ["C", "A"])

    def _token(self, name: str, token: int) -> int:
        return _integer(name, token, low=0, high=self.vocab_size, allowed=f"an integer from 0 to {self.vocab_size - 1}")


def _checked_prompt(prompt: Sequence[int] | NDArray[np.integer[Any]], vocab_size: int) -> list[int]:
    """Return the ids of the prompt. ArgumentError for what is not a sequence of ids below `vocab_size`."""
    try:
        ids = np.asarray(prompt)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"prompt: expected a sequence of token ids, found {type(prompt).__name__}") from error
    if ids.size == 0 and ids.ndim == 1:
        return []
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ArgumentError(f"prompt: expected a sequence of token ids, found {ids.dtype} {list(ids.shape)}")
    outside = np.flatnonzero((ids < 0) | (ids >= vocab_size))
    if outside.size:
        place = int(outside[0])
        raise ArgumentError(f"prompt[{place}] is {ids[place]}: expected ids from 0 to {vocab_size - 1}")
    listed: list[int] = ids.tolist()
    return listed


def _repeats(
    params: SamplingParams, vocab_size: int, prompt: Sequence[int], texts: TokenTexts | None
) -> Repeats | None:
    """Make the search for repetitions; None without DRY."""
    if params.dry_multiplier == 0.0 or params.dry_penalty_last_n == 0:
        return None
    if texts is None:
        raise ArgumentError("dry_multiplier: expected texts, the tokenizer, with it; found None")
    return Repeats(
        vocab_size=vocab_size,
        multiplier=params.dry_multiplier,
        base=params.dry_base,
        allowed_length=params.dry_allowed_length,
        last_n=params.dry_penalty_last_n,
        breakers=SequenceBreakers(params.dry_sequence_breakers, texts),
        prompt=prompt,
    )
