# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From one row of logits to one token, without the GIL. engine/sampling.py has the rules, _sampling_loops.pxi the loops.

This file has the order of the steps, token counts, penalties, the draw and log probabilities. Filters that need more
than a threshold are in `_sampling_filters.pxi`. `_sampling_repeats.pxi` finds the tokens that DRY penalises. Checks of
arguments, defaults and everything about a model are elsewhere.

Two design decisions:

* Weights are integers, `round(2^44 * exp((logit - largest) / temperature))`, so every sum of them is exact. No answer
  depends on the order of an addition, on vector width or on which selection found the candidates. A token less likely
  than the best one by more than 2^45 has weight zero.
* The first pass keeps the maximum of each block of 64 logits. All later passes read only the blocks whose maximum
  reaches the current threshold, so that with top_k or peaked logits the first pass is nearly the whole cost.
"""

cimport cython
from libc.math cimport INFINITY, ceil, log, log2
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy

import numpy as np

from qwen3cpu.errors import ArgumentError, EngineError

cdef float LARGEST = 3.4028234663852886e38

include "_sampling_loops.pxi"
include "_sampling_filters.pxi"
include "_sampling_repeats.pxi"

cdef enum:
    NOT_A_LOGIT = -1
    NOTHING_LEFT = -2

cdef double LIKELY = 14.0  # octaves below the best token within which top_p looks first

WEIGHT_OF_BEST = 1 << 44
MAX_VOCAB_SIZE = 1 << 18


def random_word(seed, stream, index, second=False):
    return philox(seed, stream, index, second)


def weights_of(const double[::1] distances):
    cdef Py_ssize_t i
    out = np.empty(distances.shape[0], np.int64)
    cdef int64_t[::1] view = out
    for i in range(distances.shape[0]):
        view[i] = weight_of(distances[i])
    return out


@cython.final
@cython.auto_pickle(False)
cdef class LogitsSampler:
    """State and scratch of one answer. Arguments are checked by sampling.Sampler, its only user."""
    cdef Py_ssize_t vocab_size, token_limit
    cdef Py_ssize_t blocks  # of the ids below token_limit
    cdef double temperature, top_n_sigma, typical_p, top_p, min_p, xtc_probability, xtc_threshold
    cdef double presence, frequency, repetition
    cdef Py_ssize_t top_k
    cdef uint64_t seed, stream
    cdef uint64_t position  # tokens of the answer so far
    cdef bint busy

    # Tokens whose logits are adjusted, in order of appearance; a step goes over these only. slots: id -> index in them.
    cdef dict slots
    cdef Py_ssize_t n_slots
    cdef int32_t[::1] slot_ids, slot_counts, slot_seen
    cdef double[::1] slot_bias, slot_repeats
    cdef Repeats repeats  # None without DRY
    cdef bint exclusive  # some bias is +infinity: only tokens with such a bias may be drawn

    # Scratch. The operating system commits the pages of a large array when they are touched, and few of them are.
    cdef float[::1] adjusted, maxima, values, left, gaps
    cdef int32_t[::1] ids, order
    cdef int64_t[::1] weights, untempered

    def __cinit__(self, *, vocab_size, token_limit, temperature, top_k, top_p, min_p, top_n_sigma, typical_p,
                  xtc_probability, xtc_threshold, presence_penalty, frequency_penalty, repetition_penalty, logit_bias,
                  prompt, repeats, seed, stream):
        self.vocab_size, self.token_limit = vocab_size, token_limit
        self.blocks = (self.token_limit + BLOCK - 1) // BLOCK
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, min(top_k, vocab_size), top_p, min_p
        self.top_n_sigma, self.typical_p = top_n_sigma, typical_p
        self.xtc_probability, self.xtc_threshold = xtc_probability, xtc_threshold
        self.presence, self.frequency, self.repetition = presence_penalty, frequency_penalty, repetition_penalty
        self.seed, self.stream = seed, stream
        self.position = 0
        self.busy = False

        self.slots = {}
        self.n_slots = 0
        self.slot_ids = np.empty(vocab_size, np.int32)
        self.slot_counts = np.empty(vocab_size, np.int32)
        self.slot_seen = np.empty(vocab_size, np.int32)
        self.slot_bias = np.empty(vocab_size, np.float64)
        self.slot_repeats = np.empty(vocab_size, np.float64)
        self.repeats = repeats
        self.exclusive = False
        for token, bias in logit_bias.items():
            self.slot_bias[self._slot(token)] = bias
            self.exclusive = self.exclusive or bias == INFINITY
        if self.repetition != 1.0:
            for token in prompt:
                self.slot_seen[self._slot(token)] = 1

        self.adjusted = np.empty(vocab_size, np.float32)
        self.maxima = np.empty((vocab_size + BLOCK - 1) // BLOCK, np.float32)
        self.values = np.empty(vocab_size, np.float32)
        self.left = np.empty(vocab_size, np.float32)
        self.ids = np.empty(vocab_size, np.int32)
        self.order = np.empty(vocab_size, np.int32)
        self.weights = np.empty(vocab_size, np.int64)
        if self._before_temperature():
            self.untempered = np.empty(vocab_size, np.int64)
            self.gaps = np.empty(vocab_size, np.float32)

    cdef Py_ssize_t _slot(self, int32_t token):
        """Index of the token among the adjusted ones; a new place when it has none."""
        known = self.slots.get(token)
        if known is not None:
            return known
        cdef Py_ssize_t slot = self.n_slots
        self.slot_ids[slot] = token
        self.slot_counts[slot] = 0
        self.slot_seen[slot] = 0
        self.slot_bias[slot] = 0.0
        self.slot_repeats[slot] = 0.0
        self.slots[token] = slot
        self.n_slots += 1
        return slot

    def accept(self, int32_t token):
        self._enter()
        try:
            self._count(token)
        finally:
            self.busy = False

    cdef _count(self, int32_t token):
        cdef Py_ssize_t slot
        self.position += 1
        if self.presence != 0.0 or self.frequency != 0.0 or self.repetition != 1.0:
            slot = self._slot(token)
            self.slot_seen[slot] = 1
            self.slot_counts[slot] += 1
        if self.repeats is not None:
            self.repeats.push(token)

    cdef _note_repeats(self):
        """Set what DRY takes from the logits of the next token."""
        cdef Py_ssize_t slot
        for slot in range(self.n_slots):
            self.slot_repeats[slot] = 0.0
        for token, amount in self.repeats.penalties():
            self.slot_repeats[self._slot(token)] = amount

    cdef _enter(self):
        if self.busy:
            raise EngineError("this sampler is at work in another thread: every answer needs a sampler of its own")
        self.busy = True

    def sample(self, const float[::1] logits):
        cdef Py_ssize_t count
        cdef int32_t token = 0
        self._enter()
        try:
            if self.repeats is not None:
                self._note_repeats()
            with nogil:
                count = self._select(&logits[0])
                if count > 0:
                    token = self._draw(count)
            if count <= 0:
                self._refuse(logits, count)
            self._count(token)
        finally:
            self.busy = False
        return token

    def distribution(self, const float[::1] logits):
        cdef Py_ssize_t count
        self._enter()
        try:
            if self.repeats is not None:
                self._note_repeats()
            with nogil:
                count = self._select(&logits[0])
            if count <= 0:
                self._refuse(logits, count)
            ids, weights = np.asarray(self.ids[:count]), np.asarray(self.weights[:count])
            return ids[weights > 0], weights[weights > 0]
        finally:
            self.busy = False

    cdef _refuse(self, const float[::1] logits, Py_ssize_t reason):
        """Raise for what _select or logprobs found."""
        cdef Py_ssize_t i
        if reason == NOT_A_LOGIT:
            for i in range(logits.shape[0]):
                if not (logits[i] <= LARGEST):
                    raise EngineError(f"logits[{i}] is {logits[i]}: expected a finite number or -inf")
        which = "tokens with a bias of +inf" if self.exclusive else f"{self.token_limit} tokens"
        raise ArgumentError(f"no token can be drawn: after logit_bias the logits of all {which} are -inf")

    cdef float _adjust(self, float logit, Py_ssize_t slot) noexcept nogil:
        """The logit after penalties and bias, computed in double and rounded once."""
        cdef double x = logit
        if not (-LARGEST <= logit <= LARGEST):
            return logit  # -inf stays banned; scan() finds NaN and +inf
        if self.slot_bias[slot] == -INFINITY:
            return -INFINITY
        if self.slot_seen[slot]:
            x = x * self.repetition if x < 0.0 else x / self.repetition
        if self.slot_counts[slot]:
            x = x - self.presence - self.frequency * self.slot_counts[slot]
        x = x - self.slot_repeats[slot]
        if self.slot_bias[slot] != INFINITY:
            x = x + self.slot_bias[slot]
        # Finite penalties neither ban a token nor force it, however large.
        x = x if x < LARGEST else LARGEST
        return <float>(x if x > -LARGEST else -LARGEST)

    cdef const float* _adjusted(self, const float* logits) noexcept nogil:
        """The logits with penalties and biases applied; the same array when no token is adjusted."""
        cdef Py_ssize_t slot, i
        if self.n_slots == 0:
            return logits
        if self.exclusive:
            for i in range(self.token_limit):
                # NaN and +inf stay, so that scan() finds them.
                self.adjusted[i] = -INFINITY if logits[i] <= LARGEST else logits[i]
        else:
            memcpy(&self.adjusted[0], logits, self.token_limit * sizeof(float))
        for slot in range(self.n_slots):
            if not self.exclusive or self.slot_bias[slot] == INFINITY:
                i = self.slot_ids[slot]
                self.adjusted[i] = self._adjust(logits[i], slot)
        return &self.adjusted[0]

    cdef float _below(self, float peak, double octaves) noexcept nogil:
        """The logit of a token whose weight is that many octaves below the best one's."""
        cdef double logit = <double>peak - octaves * self.temperature / LOG2_E
        return <float>logit if logit > -LARGEST else -LARGEST

    cdef bint _before_temperature(self) noexcept nogil:
        """Whether a filter looks at the probabilities before the temperature, and may drop the best token."""
        return self.typical_p < 1.0 or self.xtc_probability > 0.0

    cdef float _floor(self, const float* row, float peak) noexcept nogil:
        """A logit below which no token can have a weight or, without top_p, pass min_p."""
        cdef double octaves = REACH
        if self._before_temperature():
            octaves = REACH * max(1.0, 1.0 / self.temperature)
        elif self.top_p >= 1.0 and self.min_p > 0.0:
            octaves = min(octaves, 1.0 - log2(self.min_p))  # 1.0: room for the rounding of the exact test on weights
        if self.top_n_sigma == 0.0:
            return self._below(peak, octaves)
        return max(self._below(peak, octaves), sigma_floor(row, self.token_limit, peak, self.top_n_sigma))

    cdef Py_ssize_t _gather(self, const float* row, float threshold) noexcept nogil:
        """Store the tokens whose logit reaches the threshold in ids and values; return their number."""
        return gather(row, self.token_limit, &self.maxima[0], threshold, &self.ids[0], &self.values[0])

    cdef Py_ssize_t _cut(self, Py_ssize_t n, int64_t* weights, int64_t target, float high, float low) noexcept nogil:
        """Keep the best of the first n in ids, values (and weights, if not NULL), up to the target; return how many."""
        cdef Py_ssize_t last
        last = boundary(&self.values[0], n, weights, target, high, low, &self.order[0], &self.left[0])
        return keep_to(last, &self.values[0], &self.ids[0], weights, n)

    cdef Py_ssize_t _best(self, const float* row, Py_ssize_t k, float peak, float floor) noexcept nogil:
        """Store the k best tokens in ids and values, fewer when fewer reach the floor; return how many.

        At least k logits reach the k-th largest block maximum, so with a small k few blocks have to be read.
        """
        cdef Py_ssize_t i, n = 0
        for i in range(self.blocks):
            self.values[n] = self.maxima[i]
            n += self.maxima[i] >= floor
        if n > k:
            i = boundary(&self.values[0], n, NULL, k, peak, floor, &self.order[0], &self.left[0])
            floor = self.values[i]
        n = self._gather(row, floor)
        return self._cut(n, NULL, k, peak, floor) if n > k else n

    cdef bint _likely_suffice(self, const float* row, float peak, double octaves, int64_t target,
                              Py_ssize_t most) noexcept nogil:
        """Whether the tokens up to LIKELY octaves below the best one are few and reach the target without the others.

        most: number of tokens left. The likely tokens are among these if they are not more.

        This nearly always holds for a trained model. top_p then looks at these few and not at the whole vocabulary.
        """
        cdef float floor = self._below(peak, LIKELY)
        cdef Py_ssize_t i, n, opened = 0
        cdef int64_t mass = 0
        for i in range(self.blocks):
            opened += self.maxima[i] >= floor
        if opened > self.blocks // 8:
            return False
        n = gather(row, self.token_limit, &self.maxima[0], floor, &self.order[0], &self.left[0])
        for i in range(n):
            mass += weight_of((<double>self.left[i] - peak) * octaves)
        return mass >= target and n <= most

    cdef Py_ssize_t _select(self, const float* logits) noexcept nogil:
        """Store the tokens that may be drawn in ids and weights; return how many, or NOT_A_LOGIT or NOTHING_LEFT."""
        cdef const float* row = self._adjusted(logits)
        cdef float peak = scan(row, self.token_limit, &self.maxima[0])
        cdef float floor
        cdef int64_t* weights = &self.weights[0]
        cdef int64_t total, target
        cdef Py_ssize_t n
        cdef double octaves  # per 1.0 of a logit
        if peak == INFINITY:
            return NOT_A_LOGIT
        if peak == -INFINITY:
            return NOTHING_LEFT
        if self.temperature == 0.0:
            self._gather(row, peak)
            weights[0] = <int64_t>ONE
            return 1

        floor = self._floor(row, peak)
        n = self._best(row, self.top_k, peak, floor) if self.top_k > 0 else self._gather(row, floor)
        octaves = min(LOG2_E / self.temperature, 1.7976931348623157e308)
        if self._before_temperature():
            # Drop tokens without a weight at the temperature or at 1, whichever leaves more.
            weigh(&self.values[0], n, peak, min(octaves, LOG2_E), weights)
            n = keep_heavy(1, &self.values[0], &self.ids[0], weights, n)
            if self.typical_p < 1.0:
                n = keep_typical(self.typical_p, peak, &self.values[0], &self.ids[0], n,
                                 &self.untempered[0], &self.gaps[0], &self.order[0], &self.left[0])
                peak = largest(&self.values[0], n)
        total = weigh(&self.values[0], n, peak, octaves, weights)
        if self.top_p < 1.0:
            # The best token is always kept; another while the tokens before it have less than top_p of the total.
            target = min(max(<int64_t>ceil(self.top_p * <double>total), <int64_t>1), total)
            # For XTC, which would count them, tokens without a weight are dropped too.
            if target < total or self.xtc_probability > 0.0:
                # A threshold cannot find again the tokens that typical_p has kept.
                if (n > self.token_limit // 8 and self.typical_p >= 1.0
                        and self._likely_suffice(row, peak, octaves, target, n)):
                    floor = self._below(peak, LIKELY)
                    n = self._gather(row, floor)
                    weigh(&self.values[0], n, peak, octaves, weights)
                n = self._cut(n, weights, target, peak, floor)
        if self.min_p > 0.0:
            n = keep_heavy(<int64_t>ceil(self.min_p * ONE), &self.values[0], &self.ids[0], weights, n)
        if self.xtc_probability > 0.0 and self._coin() < self.xtc_probability:
            n = exclude_top(self.xtc_threshold, peak, &self.values[0], &self.ids[0], n, &self.untempered[0])
            weigh(&self.values[0], n, largest(&self.values[0], n), octaves, weights)
        return n

    cdef double _coin(self) noexcept nogil:
        """A random number in [0, 1) for XTC, fixed by seed, stream and place in the answer, like that of the draw."""
        return <double>(philox(self.seed, self.stream, self.position, True) >> 11) * 1.1102230246251565e-16

    cdef int32_t _draw(self, Py_ssize_t n) noexcept nogil:
        """Draw one of the n selected tokens, ids ascending, in proportion to the weights."""
        cdef const int64_t* weights = &self.weights[0]
        cdef uint64_t total = <uint64_t>sum_of(weights, n)
        # In [0, total).
        cdef int64_t left = <int64_t>high_word(philox(self.seed, self.stream, self.position, False), total)
        cdef Py_ssize_t i
        for i in range(n - 1):
            left -= weights[i]
            if left < 0:
                return self.ids[i]
        return self.ids[n - 1]

    def logprobs(self, const float[::1] logits, int32_t token, Py_ssize_t top):
        cdef Py_ssize_t n = 0
        cdef double normaliser = 0.0
        cdef float peak
        self._enter()
        try:
            with nogil:
                peak = scan(&logits[0], self.vocab_size, &self.maxima[0])
                if -INFINITY < peak < INFINITY:
                    normaliser = peak + log(sum_of_exp(&logits[0], self.vocab_size, peak))
                    # Scan again: the last block may hold ids that are not tokens.
                    peak = scan(&logits[0], self.token_limit, &self.maxima[0])
                    if top > 0 and peak > -INFINITY:
                        n = self._best(&logits[0], top, peak, -LARGEST)
                elif peak == INFINITY:
                    n = NOT_A_LOGIT
                else:
                    n = NOTHING_LEFT
            if n == NOT_A_LOGIT:
                self._refuse(logits, n)
            if n == NOTHING_LEFT:
                raise EngineError(f"all {self.vocab_size} logits are -inf: there is no distribution")
            best = sorted([(-self.values[i], self.ids[i]) for i in range(n)])
            return logits[token] - normaliser, [(i, -negative - normaliser) for negative, i in best]
        finally:
            self.busy = False
