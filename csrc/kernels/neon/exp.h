// The exponential of kernels/scalar/exp.h on 8 lanes, operation by operation.
#pragma once

#include "kernels/exp_constants.h"
#include "kernels/neon/simd.h"

namespace qwen3cpu::neon {
namespace {

inline float32x4_t exponential(float32x4_t x) {
  const float32x4_t one = vdupq_n_f32(1.0f), shift = vdupq_n_f32(kRoundShift), least = vdupq_n_f32(kExpMin);
  const float32x4_t bounded = vmaxq_f32(least, vminq_f32(vdupq_n_f32(kExpMax), x));  // a NaN passes
  const float32x4_t shifted = vfmaq_f32(shift, bounded, vdupq_n_f32(kLog2E));
  const float32x4_t n = vsubq_f32(shifted, shift);
  const float32x4_t r = vfmaq_f32(vfmaq_f32(bounded, n, vdupq_n_f32(-kLn2High)), n, vdupq_n_f32(-kLn2Low));
  float32x4_t p = vdupq_n_f32(kExp6);
  p = vfmaq_f32(vdupq_n_f32(kExp5), p, r);
  p = vfmaq_f32(vdupq_n_f32(kExp4), p, r);
  p = vfmaq_f32(vdupq_n_f32(kExp3), p, r);
  p = vfmaq_f32(vdupq_n_f32(kExp2), p, r);
  p = vfmaq_f32(one, p, r);
  p = vfmaq_f32(one, p, r);
  const int32x4_t power_of_two = vshlq_n_s32(vaddq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(127)), 23);
  const uint32x4_t vanishes = vcltq_f32(x, least);
  const float32x4_t product = vmulq_f32(p, vreinterpretq_f32_s32(power_of_two));
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(product), vanishes));
}

inline F8 exponential(F8 x) { return {exponential(x.low), exponential(x.high)}; }

inline float exponential(float x) { return vgetq_lane_f32(exponential(vdupq_n_f32(x)), 0); }

}  // namespace
}  // namespace qwen3cpu::neon
