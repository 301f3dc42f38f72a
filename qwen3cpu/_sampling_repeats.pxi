"""DRY: which tokens would continue a repetition, and the penalty of their logits (included by _sampling.pyx).

engine/sampling.py has the rule. Each step is linear in the number of tokens searched (a Z array).
"""


@cython.final
@cython.auto_pickle(False)
cdef class Repeats:
    """The tokens of prompt and answer so far.

    multiplier, base, allowed_length: of the penalty multiplier * base**(length - allowed_length).
    last_n: tokens searched; negative: all. breakers: has push(token) and breaks(token); None: there are no breakers.
    """

    cdef double multiplier, base
    cdef Py_ssize_t allowed, last_n, vocab_size
    cdef object breakers
    cdef Py_ssize_t length  # tokens so far
    cdef Py_ssize_t unbroken  # tokens after the last breaker
    cdef int32_t[::1] tokens, z
    cdef int32_t[::1] found, lengths  # tokens with a penalty; for each token its longest repetition + 1, or 0

    def __cinit__(self, *, vocab_size, multiplier, base, allowed_length, last_n, breakers, prompt):
        self.multiplier, self.base, self.allowed = multiplier, base, min(allowed_length, 1 << 40)
        self.last_n = min(last_n, 1 << 40)
        self.breakers = breakers
        self.length = self.unbroken = 0
        self.tokens = np.empty(len(prompt) + 256, np.int32)
        self.z = np.empty(len(prompt) + 256, np.int32)
        self.found = np.empty(vocab_size, np.int32)
        self.lengths = np.zeros(vocab_size, np.int32)
        for token in prompt:
            self.push(token)

    def push(self, int32_t token):
        """Record a token."""
        if self.length == self.tokens.shape[0]:
            self.tokens = np.concatenate([self.tokens, np.empty_like(self.tokens)])
            self.z = np.empty(self.tokens.shape[0], np.int32)
        self.tokens[self.length] = token
        self.length += 1
        self.unbroken = 0 if self.breakers is not None and self.breakers.push(token) else self.unbroken + 1

    def penalties(self):
        """(token, penalty of its logit) for each token that would continue a repetition."""
        cdef Py_ssize_t count, i
        cdef int32_t token
        with nogil:
            count = self._find()
        listed = []
        for i in range(count):
            token = self.found[i]
            # A greater penalty would change no float32.
            amount = min(self.multiplier * power(self.base, self.lengths[token] - 1 - self.allowed), 1e39)
            self.lengths[token] = 0
            if self.breakers is None or not self.breakers.breaks(token):
                listed.append((token, amount))
        return listed

    cdef Py_ssize_t _find(self) noexcept nogil:
        """Store the tokens in `found`, and the longest repetition of each, plus 1, in `lengths`; return how many."""
        cdef Py_ssize_t n = self.length if self.last_n < 0 else min(self.length, self.last_n)
        cdef Py_ssize_t most = min(self.unbroken, n)
        cdef Py_ssize_t i, same, left = 0, right = 0, count = 0
        cdef const int32_t* end = &self.tokens[0] + self.length - 1  # end[-i] is the token at place i from the end
        cdef int32_t* z = &self.z[0]
        cdef int32_t token
        if n == 0 or most < self.allowed:
            return 0
        # z[i]: how many tokens before place i from the end, its own included, equal the last ones.
        for i in range(1, n):
            same = min(right - i, <Py_ssize_t>z[i - left]) if i < right else 0
            while i + same < n and end[-same] == end[-(i + same)]:
                same += 1
            if i + same > right:
                left, right = i, i + same
            z[i] = <int32_t>same
        for i in range(n):
            same = min(<Py_ssize_t>z[i + 1], most) if i + 1 < n else 0
            if same >= self.allowed:
                token = end[-i]
                if self.lengths[token] == 0:
                    self.found[count] = token
                    count += 1
                self.lengths[token] = max(self.lengths[token], <int32_t>(same + 1))
        return count


cdef double power(double base, Py_ssize_t exponent) noexcept nogil:
    """base ** exponent by squaring, the same on every machine; base >= 1, exponent >= 0."""
    cdef double result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
