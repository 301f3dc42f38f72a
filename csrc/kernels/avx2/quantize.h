// Vectors with a tail, and the scale for rounding a block of floats to int8. Internal linkage.
#pragma once

#include "kernels/avx2/simd.h"
#include "kernels/block_scale.h"

namespace qwen3cpu::avx2 {
namespace {

// Calls body(i, n) for every vector of 8 from i on. n is 8, or less for the last vector.
template <class Body>
inline void for_vectors(int n, Body&& body) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, kLanes);
  if (i < n) body(i, n - i);
}

// The first n lanes from p; the others are 0.
inline __m256 load_some(const float* p, int n) {
  return n == kLanes ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first_lanes(n));
}

// The greatest magnitude in x[0, n), as bits: in integer order a NaN is above infinity.
inline uint32_t greatest_magnitude(const float* x, int n) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i greatest = _mm256_setzero_si256();
  for_vectors(n, [&](int i, int some) {
    greatest = _mm256_max_epi32(greatest, _mm256_and_si256(_mm256_castps_si256(load_some(x + i, some)), magnitude));
  });
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(greatest), _mm256_extracti128_si256(greatest, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
}

}  // namespace
}  // namespace qwen3cpu::avx2
