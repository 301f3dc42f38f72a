// Rounding a block of floats to int8, and the scale for it. Internal linkage.
#pragma once

#include "kernels/block_scale.h"
#include "kernels/neon/simd.h"

namespace qwen3cpu::neon {
namespace {

// The greatest magnitude in x[0, n), as bits: in integer order a NaN is above infinity.
inline uint32_t greatest_magnitude(const float* x, int n) {
  const uint32x4_t magnitude = vdupq_n_u32(0x7fffffffu);
  uint32x4_t greatest = vdupq_n_u32(0);
  for_vectors(n, [&](int i, int some) {
    const F8 v = load_some(x + i, some);
    greatest = vmaxq_u32(greatest, vandq_u32(vreinterpretq_u32_f32(v.low), magnitude));
    greatest = vmaxq_u32(greatest, vandq_u32(vreinterpretq_u32_f32(v.high), magnitude));
  });
  return vmaxvq_u32(greatest);
}

// 8 floats as int8. |x * inverse| < 127.5, so nothing is clipped.
inline int8x8_t quantize8(F8 x, BlockScale scale) {
  if (scale.inverse == 0.0f) return vdup_n_s8(0);
  const F8 scaled = x * all8(scale.inverse);
  return vmovn_s16(vcombine_s16(vmovn_s32(vcvtnq_s32_f32(scaled.low)), vmovn_s32(vcvtnq_s32_f32(scaled.high))));
}

}  // namespace
}  // namespace qwen3cpu::neon
