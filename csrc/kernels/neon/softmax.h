// One step of the online softmax, for the scores of a block of keys. Internal linkage.
#pragma once

#include "kernels/neon/exp.h"

namespace qwen3cpu::neon {
namespace {

// b where it is greater, a elsewhere. So a score that is NaN does not become the maximum.
inline float32x4_t greater(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(b, a), b, a); }

// Turns one row's scores into exponentials and updates its state. Returns the factor for the sums of earlier blocks.
// `score` has room for whole vectors.
inline float soften(float* score, int count, SoftmaxState& state) {
  const int vectors = ceil_div(count, kLanes) * kLanes;
  for (int p = count; p < vectors; ++p) score[p] = -__builtin_inff();
  float32x4_t greatest = vdupq_n_f32(state.max);
  for (int p = 0; p < vectors; p += 4) greatest = greater(greatest, vld1q_f32(score + p));
  const float max = vmaxvq_f32(greatest) + 0.0f;
  F8 total = all8(0.0f);
  for (int p = 0; p < vectors; p += kLanes) {
    const F8 e = exponential(load8(score + p) - all8(max));
    store8(score + p, e);
    total = total + e;
  }
  const float correction = exponential(state.max - max);
  state.sum = __builtin_fmaf(state.sum, correction, sum_lanes(total));
  state.max = max;
  return correction;
}

}  // namespace
}  // namespace qwen3cpu::neon
