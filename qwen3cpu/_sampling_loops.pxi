"""The loops of the sampler (included by _sampling.pyx): plain C over pointers, no Python object, no state.

In three parts: powers of two and the weights made of them; scanning and selecting; random numbers. Plain -O3 for
baseline x86-64 vectorises the first two.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

cdef enum:
    BLOCK = 64  # logits that share a maximum
    COLUMNS = 16  # of a block while it is scanned
    BINS = 256  # of a histogram
    CHUNK = 512  # values whose intermediate results stay on the stack

cdef double ONE = 17592186044416.0  # 2^44, the weight of the best token; 2^18 times this fits into 63 bits
cdef double REACH = 46.0  # octaves: 2^-46 * 2^44 rounds to zero, so no token further below the best has a weight
cdef double LOG2_E = 1.4426950408889634
cdef double ROUND_TO_INTEGER = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
cdef double TWO_52 = 4503599627370496.0


# Powers of two and the weights ---------------------------------------------------------------------------------------

cdef union Bits:
    double number
    uint64_t bits


cdef inline double power_of_two(double y) noexcept nogil:
    """2^y for y in [-1010, 0], within 4 units in the last place.

    libm's function is not used: it differs between machines and does not vectorise. Here `y = n + f` with |f| <= 1/2, and
    `2^f = p(f)^4`, where p is the Chebyshev interpolation of 2^(f/4), of degree 8. It is off by 3e-18.
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
    """Fill in weights[n] of logits, where 1.0 of a logit is `octaves` powers of two; return their sum."""
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


cdef float scan(const float* values, Py_ssize_t n, float* maxima) noexcept nogil:
    """Fill in the maximum of every block of 64 values (the last may be shorter).

    Returns the largest value, or +infinity when some value is NaN or +infinity.

    A block is read as sixteen independent columns of four. Compilers turn that into vector instructions without
    -ffast-math: 20 us for a row of Qwen3 instead of 80 (SSE2).
    """
    cdef float column[COLUMNS]
    cdef int32_t has_nan[COLUMNS]
    cdef Py_ssize_t block, i, j
    cdef const float* v
    cdef float a, b, c, d, highest, peak = -INFINITY
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
        peak = highest if highest > peak else peak
    for j in range(COLUMNS):
        peak = INFINITY if has_nan[j] else peak
    if n % BLOCK:
        highest = -INFINITY
        for i in range(n - n % BLOCK, n):
            highest = INFINITY if isunordered(values[i], highest) else max(values[i], highest)
        maxima[n // BLOCK] = highest
        peak = highest if highest > peak else peak
    return peak


cdef Py_ssize_t gather(const float* values, Py_ssize_t n, const float* maxima, float threshold,
                       int32_t* ids, float* found) noexcept nogil:
    """Store every value >= threshold with its id, ids ascending; return how many."""
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
    [low, high]; the measures add up to at least the target. order and left are scratch of n places. A histogram over
    the values finds the bin in which the target is reached. The next histogram divides that bin only, until all values
    in it are equal. This is linear in n for any values, unlike a sort or a quickselect.
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
    """Drop the items worse than item `last`; the order stays. weights may be NULL. Return how many are left."""
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


# Random numbers -----------------------------------------------------------------------------------------------------

cdef inline uint64_t high_word(uint64_t a, uint64_t b) noexcept nogil:
    """The upper 64 of the 128 bits of a * b."""
    cdef uint64_t low_mask = 0xFFFFFFFF
    cdef uint64_t a0 = a & low_mask, a1 = a >> 32, b0 = b & low_mask, b1 = b >> 32
    cdef uint64_t middle = a1 * b0 + (a0 * b0 >> 32)
    cdef uint64_t other = a0 * b1 + (middle & low_mask)
    return a1 * b1 + (middle >> 32) + (other >> 32)


cdef uint64_t philox(uint64_t seed, uint64_t stream, uint64_t index, bint second) noexcept nogil:
    """Random word number `index` of a stream: Philox4x64-10 (Salmon et al., SC11), first word of block index + 1.

    The same as numpy.random.Philox(key=[seed, stream], counter=index).random_raw(). second: what random_raw gives next.
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
    return c1 if second else c0
