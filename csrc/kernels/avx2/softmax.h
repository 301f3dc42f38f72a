// One step of the online softmax, for the scores of a block of keys. Internal linkage.
#pragma once

#include "kernels/avx2/exp.h"

namespace qwen3cpu::avx2 {
namespace {

// Turns one row's scores into exponentials and updates its state. Returns the factor for the sums of earlier blocks.
inline float soften(float* score, int count, SoftmaxState& state) {
  const int vectors = ceil_div(count, kLanes);
  const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
  const __m256i last = first_lanes(count - (vectors - 1) * kLanes);
  __m256 max = _mm256_set1_ps(state.max);
  for (int i = 0; i < vectors; ++i) {
    __m256 s = _mm256_loadu_ps(score + i * kLanes);
    if (i == vectors - 1) s = _mm256_blendv_ps(lowest, s, _mm256_castsi256_ps(last));
    max = _mm256_max_ps(s, max);
  }
  max = _mm256_max_ps(max, _mm256_permute2f128_ps(max, max, 1));
  max = _mm256_max_ps(max, _mm256_shuffle_ps(max, max, 0x4e));
  max = _mm256_max_ps(max, _mm256_shuffle_ps(max, max, 0xb1));
  max = _mm256_add_ps(max, _mm256_setzero_ps());
  __m256 total = _mm256_setzero_ps();
  for (int i = 0; i < vectors; ++i) {
    __m256 e = exponential(_mm256_sub_ps(_mm256_loadu_ps(score + i * kLanes), max));
    if (i == vectors - 1) e = _mm256_and_ps(e, _mm256_castsi256_ps(last));
    total = _mm256_add_ps(total, e);
    _mm256_storeu_ps(score + i * kLanes, e);
  }
  const float new_max = _mm256_cvtss_f32(max);
  const float correction = exponential(state.max - new_max);
  state.sum = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(state.sum), _mm_set_ss(correction), _mm_set_ss(sum_lanes(total))));
  state.max = new_max;
  return correction;
}

}  // namespace
}  // namespace qwen3cpu::avx2
