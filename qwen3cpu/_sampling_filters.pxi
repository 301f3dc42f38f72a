"""The filters that need more than a threshold (included by _sampling.pyx): plain C over pointers, no state.

top_n_sigma, typical_p and XTC. engine/sampling.py has their rules. Weights are those of _sampling_loops.pxi.
"""

from libc.math cimport ceil, fabs, rint, sqrt

cdef extern from "<math.h>" nogil:
    float nextafterf(float, float)

cdef double FURTHEST = -1000.0  # octaves; a token further away has no weight
cdef double GRID = 1048576.0  # 2^20 steps to an octave, in which gaps of surprises are compared


cdef double lanes_sum(const float* values, Py_ssize_t n, double centre, bint squared) noexcept nogil:
    """The sum of value - centre, or of its square, over the values that are not -inf.

    Eight running sums, value i in sum i % 8, added up in ascending order at the end.
    """
    cdef double lane[8]
    cdef double total = 0.0, distance
    cdef Py_ssize_t i, j, start
    memset(lane, 0, sizeof(lane))
    for start in range(0, n, 8):
        for j in range(min(<Py_ssize_t>8, n - start)):
            i = start + j
            distance = <double>values[i] - centre if values[i] > -INFINITY else 0.0
            lane[j] += distance * distance if squared else distance
    for j in range(8):
        total += lane[j]
    return total


cdef float sigma_floor(const float* values, Py_ssize_t n, float peak, double sigmas) noexcept nogil:
    """The smallest float from peak - sigmas * s on, with s the standard deviation of the values except -inf.

    The result is at least -LARGEST. At least one value must not be -inf.
    """
    cdef double count = 0.0, mean, floor
    cdef Py_ssize_t i
    cdef float found
    for i in range(n):
        count += values[i] > -INFINITY
    mean = lanes_sum(values, n, 0.0, False) / count
    floor = <double>peak - sigmas * sqrt(lanes_sum(values, n, mean, True) / count)
    if not floor > -<double>LARGEST:
        return -LARGEST
    found = <float>floor
    return found if <double>found >= floor else nextafterf(found, INFINITY)


cdef Py_ssize_t keep_heavy(int64_t least, float* values, int32_t* ids, int64_t* weights, Py_ssize_t n) noexcept nogil:
    """Drop items with a weight below `least`, in place and in order; return how many are left."""
    cdef Py_ssize_t i, count = 0
    for i in range(n):
        values[count] = values[i]
        ids[count] = ids[i]
        weights[count] = weights[i]
        count += weights[i] >= least
    return count


cdef Py_ssize_t keep_typical(double share, float peak, float* values, int32_t* ids, Py_ssize_t n,
                             int64_t* weights, float* gaps, int32_t* order, float* left) noexcept nogil:
    """Keep the items whose surprise is nearest the entropy, up to a share of the weight; return how many.

    The entropy is the mean surprise. An item's surprise is log2(total weight) less its distance from the best one, so
    the logarithm of the total cancels out of the gap between surprise and entropy. Gaps are whole steps, rounded to
    float. weights, gaps, order and left are scratch.
    """
    cdef int64_t total = weigh(values, n, peak, LOG2_E, weights)
    cdef int64_t target = min(max(<int64_t>ceil(share * <double>total), <int64_t>1), total)
    cdef double mean = 0.0
    cdef float smallest = INFINITY, largest_gap = 0.0, limit
    cdef Py_ssize_t i, last, count = 0
    for i in range(n):
        mean += <double>weights[i] * max((<double>values[i] - peak) * LOG2_E, FURTHEST)
    mean /= <double>total
    for i in range(n):
        # Negative, because `boundary` takes the largest first.
        gaps[i] = <float>-rint(fabs(max((<double>values[i] - peak) * LOG2_E, FURTHEST) - mean) * GRID)
        smallest = min(smallest, -gaps[i])
        largest_gap = max(largest_gap, -gaps[i])
    last = boundary(gaps, n, weights, target, -smallest, -largest_gap, order, left)
    limit = gaps[last]
    for i in range(n):
        values[count] = values[i]
        ids[count] = ids[i]
        count += gaps[i] >= limit if i <= last else gaps[i] > limit
    return count


cdef Py_ssize_t exclude_top(double threshold, float peak, float* values, int32_t* ids, Py_ssize_t n,
                            int64_t* weights) noexcept nogil:
    """Drop all but the worst of the items that have a share `threshold` of the weight; return how many are left.

    The worst item has the smallest value, and is the last of equal ones. weights is scratch.
    """
    cdef int64_t total = weigh(values, n, peak, LOG2_E, weights)
    cdef int64_t least = <int64_t>ceil(threshold * <double>total)
    cdef Py_ssize_t i, worst = -1, count = 0
    for i in range(n):
        if weights[i] >= least and (worst < 0 or values[i] <= values[worst]):
            worst = i
    for i in range(n):
        values[count] = values[i]
        ids[count] = ids[i]
        count += i == worst or weights[i] < least
    return count


cdef float largest(const float* values, Py_ssize_t n) noexcept nogil:
    cdef float found = values[0]
    cdef Py_ssize_t i
    for i in range(1, n):
        found = values[i] if values[i] > found else found
    return found
