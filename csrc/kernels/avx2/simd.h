// Small functions that the AVX2 files share. Internal linkage: files compiled for other CPUs must not link to them.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/kernels.h"
#include "kernels/token_runs.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kLanes = 8;  // floats of a register

// Row tiles that quantised products of `tokens` tokens walk side by side: as many as fit into the registers with their
// sums.
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

// Pins x to a register here. Without it GCC 12 regroups integer sums into trees, runs out of registers and spills. The
// tiles of several tokens are then 1.3 to 1.6 times slower.
inline void pin(__m256i& x) { asm("" : "+x"(x)); }
inline void pin(__m256& x) { asm("" : "+x"(x)); }

// Prefetches the cache line `distance` bytes ahead. Beyond the end of the weights it does nothing.
// always_inline: GCC silently drops calls of a function that only prefetches, because it seems to have no effect.
inline __attribute__((always_inline)) void prefetch(const void* p, int distance) {
  _mm_prefetch(static_cast<const char*>(p) + distance, _MM_HINT_T0);
}

// Registers for the bodies that AVX2 and NEON share (kernels/kv_block.h, kernels/float_tiles.h).
struct Simd {
  using Vector = __m256;
  using Factor = __m256;
  static Vector all(float x) { return _mm256_set1_ps(x); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Factor factor(float x) { return _mm256_set1_ps(x); }
  static Vector fma(Factor a, Vector b, Vector acc) { return _mm256_fmadd_ps(a, b, acc); }
  static void pin(Vector& v) { avx2::pin(v); }
  static QWEN3CPU_INLINE void prefetch(const void* p, int bytes) { avx2::prefetch(p, bytes); }

  // The sums of two row tiles by six tokens, two registers of weights and one of activations take 15 of the 16
  // registers. A chain has a latency of 4 cycles at two a cycle.
  static constexpr int kFloatTokens = 6;
  template <int T>
  static constexpr int kFloatTiles = T <= 3 ? 4 : 2;
  static constexpr int kFloatAhead = 2048;
  template <int kMost, class Body>
  static QWEN3CPU_INLINE void for_tiles(int n_tiles, Body&& body) {
    for_tiles_side_by_side<kMost>(0, n_tiles, body);
  }
};

}  // namespace
}  // namespace qwen3cpu::avx2
