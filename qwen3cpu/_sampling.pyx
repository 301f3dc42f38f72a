# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From one row of logits to one token: the loops of the sampler, run without the GIL. The rules are in sampling.py.

What lives here: scanning and selecting among the logits, the weights, the draw, token counts and log probabilities.
What does not: checking of arguments, defaults, anything that knows about a model.

Two choices carry the file:

* Weights are integers, round(2^44 * exp((logit - largest) / temperature)), so every sum of them is exact and no answer depends on the order of an
  addition, on vector width or on which selection found the candidates. A token less likely than the best one by more
  than 2^45 has weight zero.
* The first pass keeps the maximum of each block of 64 logits. All later passes open only the blocks whose maximum
  reaches the threshold in force, so that with top_k or peaked logits the first pass is nearly the whole cost.
"""

from libc.math cimport INFINITY, ceil, log, log2
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from qwen3cpu.errors import ArgumentError, EngineError

cdef enum:
    BLOCK = 64
    COLUMNS = 16
    BINS = 256
    CHUNK = 512
    NOT_A_LOGIT = -1
    NOTHING_LEFT = -2

cdef float LARGEST = 3.4028234663852886e38
cdef double ONE = 17592186044416.0  # 2^44, the weight of the best token; 2^18 tokens of it fit into 63 bits
cdef double REACH = 46.0  # octaves: 2^-46 * 2^44 rounds to zero, no token further below the best one has a weight
cdef double LIKELY = 14.0
cdef double LOG2_E = 1.4426950408889634
cdef double ROUND_TO_INTEGER = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
cdef double TWO_52 = 4503599627370496.0

WEIGHT_OF_BEST = 1 << 44
MAX_VOCAB_SIZE = 1 << 18


# Powers of two and the weights ---------------------------------------------------------------------------------------

cdef union Bits:
    double number
    uint64_t bits


cdef inline double power_of_two(double y) noexcept nogil:
    """2^y for y in [-1010, 0], within 4 units in the last place.

    Our own, because libm's differs between machines and does not vectorise: y = n + f, |f| <= 1/2, and p(f)^4 with
    p the Chebyshev interpolation of 2^(f/4), degree 8, off by 3e-18.
    """
    cdef Bits n, result
    n.number = y + ROUND_TO_INTEGER
    cdef double f = y - (n.number - ROUND_TO_INTEGER)
    cdef double p = 2.0169017401284516e-11
    p = p * f + 9.311714113614386e-10
    p = p * f + 3.7606274664784194e-08
    p = p * f + 1.3021052467820096e-06
    p = p * f + 3.757081682672302e-05
    p = p * f + 0.0008672516978906813
    p = p * f + 0.015014156684943793
    p = p * f + 0.17328679513998627
    p = p * f + 1.0
    p = p * p
    result.number = p * p
    result.bits += n.bits << 52
    return result.number


cdef inline int64_t weight_of(double distance) noexcept nogil:
    """round(2^44 * 2^distance) for a distance <= 0 from the best logit, in octaves."""
    cdef Bits rounded
    distance = distance if distance > -REACH else -REACH
    rounded.number = power_of_two(distance) * ONE + TWO_52
    return <int64_t>(rounded.bits - <uint64_t>0x4330000000000000)  # the bits of 2^52


cdef int64_t weigh(const float* values, Py_ssize_t n, double peak, double octaves, int64_t* weights) noexcept nogil:
    """Fill weights[n] of values that are `octaves` powers of two apart per 1.0; their sum."""
    cdef Py_ssize_t i
    for i in range(n):
        weights[i] = weight_of((<double>values[i] - peak) * octaves)
    return sum_of(weights, n)


cdef int64_t sum_of(const int64_t* weights, Py_ssize_t n) noexcept nogil:
    cdef int64_t total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += weights[i]
    return total


cdef double sum_of_exp(const float* values, Py_ssize_t n, double peak) noexcept nogil:
    """Sum of exp(value - peak): eight running sums, value i in sum i % 8, added up in ascending order at the end."""
    cdef double term[CHUNK]
    cdef double lane[8]
    cdef Py_ssize_t chunk, start, i, j, length
    cdef double total = 0.0, distance
    memset(lane, 0, sizeof(lane))
    for chunk in range((n + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        length = min(n - start, <Py_ssize_t>CHUNK)
        for i in range(length):
            distance = (<double>values[start + i] - peak) * LOG2_E
            term[i] = power_of_two(distance if distance > -1010.0 else -1010.0)
        for i in range(length, CHUNK):
            term[i] = 0.0
        for i in range(CHUNK // 8):
            for j in range(8):
                lane[j] += term[8 * i + j]
    for j in range(8):
        total += lane[j]
    return total


# Scanning and selecting ---------------------------------------------------------------------------------------------

cdef extern from "<math.h>" nogil:
    int isunordered(float, float)  # whether one of them is NaN


cdef bint scan(const float* values, Py_ssize_t n, float* maxima) noexcept nogil:
    """Maximum of every block of 64 values (the last may be shorter); whether a value is NaN or +infinity.

    Sixteen independent columns of four, a form that compilers turn into vector instructions without -ffast-math:
    20 us for a row of Qwen3 in place of 80 (SSE2).
    """
    cdef float column[COLUMNS]
    cdef int32_t has_nan[COLUMNS]
    cdef bint odd = False
    cdef Py_ssize_t block, i, j
    cdef const float* v
    cdef float a, b, c, d, highest
    memset(has_nan, 0, sizeof(has_nan))
    for block in range(n // BLOCK):
        v = values + block * BLOCK
        for j in range(COLUMNS):
            a, b, c, d = v[j], v[j + COLUMNS], v[j + 2 * COLUMNS], v[j + 3 * COLUMNS]
            has_nan[j] |= isunordered(a, b) | isunordered(c, d)
            a = a if a > b else b
            c = c if c > d else d
            column[j] = a if a > c else c
        highest = column[0]
        for j in range(1, COLUMNS):
            highest = column[j] if column[j] > highest else highest
        maxima[block] = highest
        odd |= highest > LARGEST
    for j in range(COLUMNS):
        odd |= has_nan[j] != 0
    if n % BLOCK:
        highest = -INFINITY
        for i in range(n - n % BLOCK, n):
            highest = values[i] if values[i] > highest else highest
            odd |= not (values[i] <= LARGEST)
        maxima[n // BLOCK] = highest
    return odd


cdef Py_ssize_t gather(const float* values, Py_ssize_t n, const float* maxima, float threshold,
                       int32_t* ids, float* found) noexcept nogil:
    """Every value >= threshold with its id, ids ascending; how many there are."""
    cdef Py_ssize_t block, i, count = 0
    for block in range((n + BLOCK - 1) // BLOCK):
        if maxima[block] >= threshold:
            for i in range(block * BLOCK, min(n, block * BLOCK + BLOCK)):
                ids[count] = <int32_t>i  # always written, kept when it counts: no branch to mispredict
                found[count] = values[i]
                count += values[i] >= threshold
    return count


cdef inline void bins_of(const float* values, Py_ssize_t n, double high, double scale, int32_t* bins) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        bins[i] = <int32_t>((high - <double>values[i]) * scale)


cdef Py_ssize_t boundary(const float* values, Py_ssize_t n, const int64_t* measure, int64_t target,
                         float high, float low, int32_t* order, float* left) noexcept nogil:
    """Position of the last item kept when items are taken best first until their measures reach the target.

    Best first is value descending, then position ascending. measure NULL counts every item as 1. All values lie in
    [low, high]; the measures add up to the target at least. order and left are scratch of n places. A histogram over
    the values finds the bin in which the target is reached, the next one divides that bin only, until all values in it
    are equal: linear in n whatever the values, where a sort or a quickselect is not.
    """
    cdef int64_t mass[BINS]
    cdef int32_t bins[CHUNK]
    cdef int64_t before = 0
    cdef Py_ssize_t chunk, start, length, i, count
    cdef int32_t bin
    cdef double scale
    for i in range(n):
        order[i] = <int32_t>i
    while low < high:
        scale = (BINS - 1) / (<double>high - <double>low)
        memset(mass, 0, sizeof(mass))
        for chunk in range((n + CHUNK - 1) // CHUNK):
            start = chunk * CHUNK
            length = min(n - start, <Py_ssize_t>CHUNK)
            bins_of(values + start, length, high, scale, bins)
            for i in range(length):
                mass[bins[i]] += 1 if measure == NULL else measure[order[start + i]]
        bin = 0
        while before + mass[bin] < target:
            before += mass[bin]
            bin += 1
        count = 0
        for chunk in range((n + CHUNK - 1) // CHUNK):
            start = chunk * CHUNK
            length = min(n - start, <Py_ssize_t>CHUNK)
            bins_of(values + start, length, high, scale, bins)
            for i in range(length):
                order[count] = order[start + i]
                left[count] = values[start + i]
                count += bins[i] == bin
        n, values = count, left
        high = low = left[0]
        for i in range(n):
            high = left[i] if left[i] > high else high
            low = left[i] if left[i] < low else low
    for i in range(n):
        before += 1 if measure == NULL else measure[order[i]]
        if before >= target:
            return order[i]
    return order[n - 1]


cdef Py_ssize_t keep_to(Py_ssize_t last, float* values, int32_t* ids, int64_t* weights, Py_ssize_t n) noexcept nogil:
    """Drop what comes after item `last`, best first; the order stays. weights may be NULL. How many are left."""
    cdef float limit = values[last], value
    cdef Py_ssize_t i, count = 0
    for i in range(n):
        value = values[i]
        values[count] = value
        ids[count] = ids[i]
        if weights != NULL:
            weights[count] = weights[i]
        count += value >= limit if i <= last else value > limit
    return count


cdef float highest_of(const float* maxima, Py_ssize_t blocks) noexcept nogil:
    cdef float highest = -INFINITY
    cdef Py_ssize_t i
    for i in range(blocks):
        highest = maxima[i] if maxima[i] > highest else highest
    return highest


# Random numbers -----------------------------------------------------------------------------------------------------

cdef inline uint64_t high_word(uint64_t a, uint64_t b) noexcept nogil:
    """The upper 64 of the 128 bits of a * b."""
    cdef uint64_t low_mask = 0xFFFFFFFF
    cdef uint64_t a0 = a & low_mask, a1 = a >> 32, b0 = b & low_mask, b1 = b >> 32
    cdef uint64_t middle = a1 * b0 + (a0 * b0 >> 32)
    cdef uint64_t other = a0 * b1 + (middle & low_mask)
    return a1 * b1 + (middle >> 32) + (other >> 32)


cdef uint64_t philox(uint64_t seed, uint64_t stream, uint64_t index) noexcept nogil:
    """Random word number `index` of a stream: Philox4x64-10 (Salmon et al., SC11), first word of block index + 1.

    The same as numpy.random.Philox(key=[seed, stream], counter=index).random_raw().
    """
    cdef uint64_t c0 = index + 1, c1 = <uint64_t>(c0 == 0), c2 = 0, c3 = 0
    cdef uint64_t high0, high1
    cdef int i
    for i in range(10):
        high0 = high_word(c0, <uint64_t>0xD2E7470EE14C6C93)
        high1 = high_word(c2, <uint64_t>0xCA5A826395121157)
        c0, c1, c2, c3 = (
            high1 ^ c1 ^ seed,
            c2 * <uint64_t>0xCA5A826395121157,
            high0 ^ c3 ^ stream,
            c0 * <uint64_t>0xD2E7470EE14C6C93,
        )
        seed += <uint64_t>0x9E3779B97F4A7C15
        stream += <uint64_t>0xBB67AE8584CAA73B
    return c0


def random_word(seed, stream, index):
    return philox(seed, stream, index)


def weights_of(const double[::1] distances):
    cdef Py_ssize_t i
    out = np.empty(distances.shape[0], np.int64)
    cdef int64_t[::1] view = out
    for i in range(distances.shape[0]):
        view[i] = weight_of(distances[i])
    return out


# The sampler --------------------------------------------------------------------------------------------------------

cdef class LogitsSampler:
    """State and scratch of one answer. Arguments are checked by sampling.Sampler, its only user."""

    cdef Py_ssize_t vocab_size, token_limit, blocks
    cdef double temperature, top_p, min_p, presence, frequency, repetition
    cdef Py_ssize_t top_k
    cdef uint64_t seed, stream
    cdef uint64_t position  # tokens of the answer so far
    cdef bint busy

    # Tokens whose logits are adjusted, in order of appearance: all that a step pays for. slots: id -> index in them.
    cdef dict slots
    cdef Py_ssize_t n_slots
    cdef int32_t[::1] slot_ids, slot_counts, slot_seen
    cdef double[::1] slot_bias
    cdef bint exclusive  # some bias is +infinity: only tokens with such a bias may be drawn

    # Scratch. The operating system commits the pages of a large array when they are touched, which few are.
    cdef float[::1] adjusted, maxima, values, left
    cdef int32_t[::1] ids, order
    cdef int64_t[::1] weights

    def __init__(self, *, vocab_size, token_limit, temperature, top_k, top_p, min_p, presence_penalty,
                 frequency_penalty, repetition_penalty, logit_bias, prompt, seed, stream):
        self.vocab_size, self.token_limit = vocab_size, token_limit
        self.blocks = (self.vocab_size + BLOCK - 1) // BLOCK
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, min(top_k, vocab_size), top_p, min_p
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
        self.exclusive = False
        for token, bias in logit_bias.items():
            self.slot_bias[self._slot(token)] = bias
            self.exclusive = self.exclusive or bias == INFINITY
        if self.repetition != 1.0:
            for token in prompt:
                self.slot_seen[self._slot(token)] = 1

        self.adjusted = np.empty(vocab_size, np.float32)
        self.maxima = np.empty(self.blocks, np.float32)
        self.values = np.empty(vocab_size, np.float32)
        self.left = np.empty(vocab_size, np.float32)
        self.ids = np.empty(vocab_size, np.int32)
        self.order = np.empty(vocab_size, np.int32)
        self.weights = np.empty(vocab_size, np.int64)

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
        self.slots[token] = slot
        self.n_slots += 1
        return slot

    def accept(self, int32_t token):
        self._enter()
        self._count(token)
        self.busy = False

    cdef _count(self, int32_t token):
        cdef Py_ssize_t slot
        self.position += 1
        if self.presence != 0.0 or self.frequency != 0.0 or self.repetition != 1.0:
            slot = self._slot(token)
            self.slot_seen[slot] = 1
            self.slot_counts[slot] += 1

    cdef _enter(self):
        if self.busy:
            raise EngineError("this sampler is at work in another thread: every answer needs a sampler of its own")
        self.busy = True

    def sample(self, const float[::1] logits):
        cdef Py_ssize_t count
        cdef int32_t token = 0
        self._enter()
        try:
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
            return logit  # -inf stays banned, the scan finds the others
        if self.slot_seen[slot]:
            x = x * self.repetition if x < 0.0 else x / self.repetition
        if self.slot_counts[slot]:
            x = x - self.presence - self.frequency * self.slot_counts[slot]
        if self.slot_bias[slot] != INFINITY:
            x = x + self.slot_bias[slot]
        if x == -INFINITY and self.slot_bias[slot] == -INFINITY:
            return -INFINITY
        # Finite penalties neither ban a token nor force it, however large.
        x = x if x < LARGEST else LARGEST
        return <float>(x if x > -LARGEST else -LARGEST)

    cdef const float* _adjusted(self, const float* logits) noexcept nogil:
        """The logits with penalties and biases applied; the same array when there are none."""
        cdef Py_ssize_t slot, i
        if self.n_slots == 0:
            return logits
        if self.exclusive:
            for i in range(self.token_limit):
                # What is not a logit stays for the scan to find.
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

    cdef float _floor(self, float peak) noexcept nogil:
        """A logit below which no token can have a weight or, without top_p, pass min_p."""
        cdef double octaves = REACH
        if self.top_p >= 1.0 and self.min_p > 0.0:
            octaves = min(octaves, 1.0 - log2(self.min_p))  # 1.0: room for the rounding of the exact test on weights
        return self._below(peak, octaves)

    cdef bint _likely_suffice(self, const float* row, Py_ssize_t blocks, float peak, double octaves,
                              int64_t target) noexcept nogil:
        """Whether the tokens up to LIKELY octaves below the best one are few and reach the target without the others.

        So it is nearly always in a trained model; then top_p sorts out these few and not the whole vocabulary.
        """
        cdef float floor = self._below(peak, LIKELY)
        cdef Py_ssize_t i, n, opened = 0
        cdef int64_t mass = 0
        for i in range(blocks):
            opened += self.maxima[i] >= floor
        if opened > blocks // 8:
            return False
        n = gather(row, self.token_limit, &self.maxima[0], floor, &self.order[0], &self.left[0])
        for i in range(n):
            mass += weight_of((<double>self.left[i] - peak) * octaves)
        return mass >= target

    cdef float _top_k_floor(self, Py_ssize_t k, Py_ssize_t blocks, float peak, float floor) noexcept nogil:
        """A logit that at least k tokens reach: the k-th largest block maximum; `floor` when fewer blocks reach that."""
        cdef Py_ssize_t i, n = 0
        for i in range(blocks):
            self.values[n] = self.maxima[i]
            n += self.maxima[i] >= floor
        if n <= k:
            return floor
        return self.values[boundary(&self.values[0], n, NULL, k, peak, floor, &self.order[0], &self.left[0])]

    cdef Py_ssize_t _select(self, const float* logits) noexcept nogil:
        """Leave the tokens that may be drawn in ids and weights; how many, or NOT_A_LOGIT or NOTHING_LEFT."""
        cdef const float* row = self._adjusted(logits)
        cdef Py_ssize_t n, kept, i, blocks = (self.token_limit + BLOCK - 1) // BLOCK
        cdef float* values = &self.values[0]
        cdef int32_t* ids = &self.ids[0]
        cdef int64_t* weights = &self.weights[0]
        if scan(row, self.token_limit, &self.maxima[0]):
            return NOT_A_LOGIT
        cdef float peak = highest_of(&self.maxima[0], blocks)
        if peak == -INFINITY:
            return NOTHING_LEFT
        if self.temperature == 0.0:
            gather(row, self.token_limit, &self.maxima[0], peak, ids, values)
            weights[0] = <int64_t>ONE
            return 1

        cdef float floor = self._floor(peak)
        if 0 < self.top_k < self.token_limit:
            floor = self._top_k_floor(self.top_k, blocks, peak, floor)
        n = gather(row, self.token_limit, &self.maxima[0], floor, ids, values)
        if 0 < self.top_k < n:
            n = keep_to(boundary(values, n, NULL, self.top_k, peak, floor, &self.order[0], &self.left[0]), values, ids, NULL, n)

        cdef double octaves = min(LOG2_E / self.temperature, 1.7976931348623157e308)
        cdef int64_t total = weigh(values, n, peak, octaves, weights)
        cdef int64_t target
        if self.top_p < 1.0:
            # The best token is always kept; another while the tokens before it have less than top_p of the total.
            target = max(<int64_t>ceil(self.top_p * <double>total), <int64_t>1)
            if target < total:
                if self.top_k == 0 and self._likely_suffice(row, blocks, peak, octaves, target):
                    floor = self._below(peak, LIKELY)
                    n = gather(row, self.token_limit, &self.maxima[0], floor, ids, values)
                    weigh(values, n, peak, octaves, weights)
                n = keep_to(boundary(values, n, weights, target, peak, floor, &self.order[0], &self.left[0]), values,
                            ids, weights, n)
        if self.min_p > 0.0:
            target = <int64_t>ceil(self.min_p * ONE)
            kept = 0
            for i in range(n):
                ids[kept] = ids[i]
                weights[kept] = weights[i]
                kept += weights[i] >= target
            n = kept
        return n

    cdef int32_t _draw(self, Py_ssize_t n) noexcept nogil:
        """One of the n selected tokens, ids ascending, each with its weight as the share of the random number."""
        cdef const int64_t* weights = &self.weights[0]
        cdef uint64_t total = <uint64_t>sum_of(weights, n)
        cdef int64_t left = <int64_t>high_word(philox(self.seed, self.stream, self.position), total)  # in [0, total)
        cdef Py_ssize_t i
        for i in range(n - 1):
            left -= weights[i]
            if left < 0:
                return self.ids[i]
        return self.ids[n - 1]

    def logprobs(self, const float[::1] logits, int32_t token, Py_ssize_t top):
        cdef Py_ssize_t n = 0
        cdef double normaliser = 0.0
        cdef float peak = 0.0
        cdef bint odd
        self._enter()
        try:
            with nogil:
                odd = scan(&logits[0], self.vocab_size, &self.maxima[0])
                if not odd:
                    peak = highest_of(&self.maxima[0], self.blocks)
                if not odd and peak > -INFINITY:
                    normaliser = peak + log(sum_of_exp(&logits[0], self.vocab_size, peak))
                    n = self._alternatives(&logits[0], top)
            if odd:
                self._refuse(logits, NOT_A_LOGIT)
            if peak == -INFINITY:
                raise EngineError(f"all {self.vocab_size} logits are -inf: there is no distribution")
            best = sorted([(-self.values[i], self.ids[i]) for i in range(n)])
            return logits[token] - normaliser, [(i, -negative - normaliser) for negative, i in best]
        finally:
            self.busy = False

    cdef Py_ssize_t _alternatives(self, const float* logits, Py_ssize_t top) noexcept nogil:
        """Leave the `top` best tokens below token_limit in ids and values; how many (fewer when the rest is -inf)."""
        cdef Py_ssize_t n, blocks = (self.token_limit + BLOCK - 1) // BLOCK
        if top == 0:
            return 0
        scan(logits, self.token_limit, &self.maxima[0])  # the last block may hold ids that are no tokens
        cdef float peak = highest_of(&self.maxima[0], blocks)
        if peak == -INFINITY:
            return 0
        cdef float floor = self._top_k_floor(top, blocks, peak, -LARGEST)
        n = gather(logits, self.token_limit, &self.maxima[0], floor, &self.ids[0], &self.values[0])
        if n > top:
            n = keep_to(boundary(&self.values[0], n, NULL, top, peak, floor, &self.order[0], &self.left[0]), &self.values[0],
                        &self.ids[0], NULL, n)
        return n
