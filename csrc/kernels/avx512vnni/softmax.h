// One step of the online softmax, for the scores of a block of keys and many rows. It computes the same as
// avx2::soften(), 16 lanes wide. It works in passes over the rows, so that one row's operations hide the latency of
// another's. Internal linkage.
#pragma once

#include "kernels/avx2/simd.h"
#include "kernels/avx512vnni/exp.h"
#include "kernels/avx512vnni/lanes.h"

namespace qwen3cpu::avx512vnni {
namespace {

// The largest of `before` and the row's scores; never -0.
inline float largest(const float* score, int count, float before) {
  __m512 wide = _mm512_set1_ps(before);
  int p = 0;
  for (; p + kWide <= count; p += kWide) wide = _mm512_max_ps(_mm512_load_ps(score + p), wide);
  if (p < count) wide = _mm512_mask_max_ps(wide, first_lanes(count - p), _mm512_load_ps(score + p), wide);
  __m256 max = _mm256_max_ps(_mm512_castps512_ps256(wide), _mm512_extractf32x8_ps(wide, 1));
  max = _mm256_max_ps(max, _mm256_permute2f128_ps(max, max, 1));
  max = _mm256_max_ps(max, _mm256_shuffle_ps(max, max, 0x4e));
  max = _mm256_max_ps(max, _mm256_shuffle_ps(max, max, 0xb1));
  return _mm256_cvtss_f32(_mm256_add_ps(max, _mm256_setzero_ps()));
}

// Turns a row's scores into exponentials, and those at or above count into 0. Returns their sum, added in 8 lanes. The
// exponentials are read again for the sum, because taking halves of a register would cost a shuffle each.
inline float exponentials(float* score, int count, float max) {
  const auto at = [&](int p) { return exponential(_mm512_sub_ps(_mm512_load_ps(score + p), _mm512_set1_ps(max))); };
  int p = 0;
  for (; p + kWide <= count; p += kWide) _mm512_store_ps(score + p, at(p));
  if (p < count) _mm512_store_ps(score + p, _mm512_maskz_mov_ps(first_lanes(count - p), at(p)));
  __m256 total = _mm256_setzero_ps();
  for (p = 0; p < count; p += avx2::kLanes) total = _mm256_add_ps(total, _mm256_load_ps(score + p));
  return avx2::sum_lanes(total);
}

// Turns all rows' scores into exponentials and updates their states.
//   score       [n_rows][64], 64-byte aligned
//   correction  [n_rows rounded up to 16], 64-byte aligned: receives the factors for the sums of earlier blocks
// A row without positions keeps its state, with a factor of 1.
inline void soften(float* score, const int* count, int n_rows, SoftmaxState* state, float* correction) {
  for (int row = 0; row < n_rows; ++row) {
    const float before = state[row].max;
    if (count[row] > 0) state[row].max = largest(score + row * kKvBlock, count[row], before);
    correction[row] = count[row] > 0 ? before - state[row].max : 0.0f;
  }
  for (int row = 0; row < n_rows; row += kWide)
    _mm512_store_ps(correction + row, exponential(_mm512_load_ps(correction + row)));
  for (int row = 0; row < n_rows; ++row) {
    if (count[row] == 0) continue;
    const float total = exponentials(score + row * kKvBlock, count[row], state[row].max);
    state[row].sum = __builtin_fmaf(state[row].sum, correction[row], total);
  }
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
