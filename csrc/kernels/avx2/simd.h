// Small pieces that the AVX2 files share. Internal linkage: no other file's code may come from here.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/kernels.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kLanes = 8;  // floats of a register

// Row tiles that quantised products of `tokens` tokens walk side by side: as many as their sums leave registers for.
constexpr int tiles_side_by_side(int tokens) { return tokens == 1 ? 4 : tokens == 2 ? 2 : 1; }

// The 4 bytes at p in every 32-bit lane: one load, no shuffle.
inline __m256i broadcast4(const void* p) {
  int32_t x;
  std::memcpy(&x, p, sizeof(x));
  return _mm256_set1_epi32(x);
}

// The 16 bytes at p in both halves.
inline __m256i broadcast16(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline void store(void* p, __m256i x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }

// All ones in the first n (0..8) lanes.
inline __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// ((0+4)+(2+6)) + ((1+5)+(3+7))
inline float sum_lanes(__m256 x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// Pins x to a register here. Without it GCC 12 regroups integer sums into trees, runs out of registers and spills: 1.3
// to 1.6 times slower in the tiles of several tokens.
inline void pin(__m256i& x) { asm("" : "+x"(x)); }
inline void pin(__m256& x) { asm("" : "+x"(x)); }

// Fetches the cache line `distance` bytes ahead; beyond the end of the weights it does nothing.
// always_inline: GCC takes a function that only prefetches for one without effect and drops calls of it, silently.
inline __attribute__((always_inline)) void prefetch(const void* p, int distance) {
  _mm_prefetch(static_cast<const char*>(p) + distance, _MM_HINT_T0);
}

}  // namespace
}  // namespace qwen3cpu::avx2
