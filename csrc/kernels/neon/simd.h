// Eight floats as a pair of registers, and small functions that the NEON files share. Internal linkage: files compiled
// for other CPUs must not link to them.
#pragma once

#include <arm_neon.h>

#include <cstring>

#include "kernels/neon/kernels.h"
#include "kernels/token_runs.h"

namespace qwen3cpu::neon {
namespace {

constexpr int kLanes = 8;  // floats of a pair of registers: a row tile, or the positions of a vector of keys

struct F8 {
  float32x4_t low, high;
};

inline F8 load8(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }

inline void store8(float* p, F8 x) {
  vst1q_f32(p, x.low);
  vst1q_f32(p + 4, x.high);
}

inline F8 all8(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }

inline F8 operator+(F8 a, F8 b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
inline F8 operator-(F8 a, F8 b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
inline F8 operator*(F8 a, F8 b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
inline F8 operator/(F8 a, F8 b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }

// fma(a, b, acc)
inline F8 fma(F8 acc, F8 a, F8 b) { return {vfmaq_f32(acc.low, a.low, b.low), vfmaq_f32(acc.high, a.high, b.high)}; }
inline F8 fma(F8 acc, F8 a, float b) { return {vfmaq_n_f32(acc.low, a.low, b), vfmaq_n_f32(acc.high, a.high, b)}; }

// The first n (0..8) lanes from p; the others are 0.
inline F8 load_some(const float* p, int n) {
  if (n == kLanes) return load8(p);
  float lanes[kLanes] = {};
  std::memcpy(lanes, p, sizeof(float) * static_cast<size_t>(n));
  return load8(lanes);
}

inline void store_some(float* p, int n, F8 x) {
  if (n == kLanes) return store8(p, x);
  float lanes[kLanes];
  store8(lanes, x);
  std::memcpy(p, lanes, sizeof(float) * static_cast<size_t>(n));
}

// Calls body(i, n) for every vector of 8 from i on. n is 8, or less for the last vector.
template <class Body>
inline void for_vectors(int n, Body&& body) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, kLanes);
  if (i < n) body(i, n - i);
}

// ((0+4)+(2+6)) + ((1+5)+(3+7))
inline float sum_lanes(F8 x) {
  const float32x4_t four = vaddq_f32(x.low, x.high);
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

// Prefetches the cache line `distance` bytes ahead. Beyond the end of the weights it does nothing.
// always_inline: GCC silently drops calls of a function that only prefetches, because it seems to have no effect.
inline __attribute__((always_inline)) void prefetch(const void* p, int distance) {
  __builtin_prefetch(static_cast<const char*>(p) + distance);
}

// Registers for the bodies that AVX2 and NEON share (kernels/kv_block.h, kernels/float_tiles.h).
struct Simd {
  using Vector = F8;
  using Factor = float;
  static Vector all(float x) { return all8(x); }
  static Vector load(const float* p) { return load8(p); }
  static void store(float* p, Vector v) { store8(p, v); }
  static Vector multiply(Vector a, Vector b) { return a * b; }
  static Factor factor(float x) { return x; }
  static Vector fma(Factor a, Vector b, Vector acc) { return neon::fma(acc, b, a); }
  static void pin(Vector&) {}
  static QWEN3CPU_INLINE void prefetch(const void* p, int bytes) { neon::prefetch(p, bytes); }

  // The sums of two row tiles by six tokens, four registers of weights and the activations fill all 32 registers.
  static constexpr int kFloatTokens = 6;
  template <int T>
  static constexpr int kFloatTiles = T <= 2 ? 4 : 2;
  static constexpr int kFloatAhead = 1024;
  template <int kMost, class Body>
  static QWEN3CPU_INLINE void for_tiles(int n_tiles, Body&& body) {
    for_tiles_in_a_row<kMost>(0, n_tiles, body);
  }
};

}  // namespace
}  // namespace qwen3cpu::neon
