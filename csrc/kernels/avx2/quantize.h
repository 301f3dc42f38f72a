// Vectors with a tail, and the scale with which a block of floats is rounded to int8. Internal linkage.
#pragma once

#include "kernels/avx2/simd.h"

namespace qwen3cpu::avx2 {
namespace {

// Calls body(i, n) for every vector of 8 from i on; n = 8 but for the last, which may hold fewer.
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

inline float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

inline uint32_t to_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

// A block is stored as q = round(x * inverse) and stands for q * scale. inverse 0: every q is 0, whatever x is.
struct BlockScale {
  float inverse, scale;
};

// See QuantizeFn.
inline BlockScale block_scale(const float* x, int n) {
  constexpr uint32_t infinity = 0x7f800000u;
  const uint32_t amax_bits = greatest_magnitude(x, n);
  const float amax = from_bits(amax_bits);
  if (amax_bits >= infinity) return {0.0f, amax};
  const float inverse = 127.0f / amax;
  if ((to_bits(inverse) & 0x7fffffffu) >= infinity) return {0.0f, 0.0f};
  return {inverse, amax / 127.0f};
}

}  // namespace
}  // namespace qwen3cpu::avx2
