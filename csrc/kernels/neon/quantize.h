// The scale with which a block of floats is rounded to int8, and the rounding. Internal linkage.
#pragma once

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

// 8 floats as int8. |x * inverse| < 127.5: nothing is cut off.
inline int8x8_t quantize8(F8 x, BlockScale scale) {
  if (scale.inverse == 0.0f) return vdup_n_s8(0);
  const F8 scaled = x * all8(scale.inverse);
  return vmovn_s16(vcombine_s16(vmovn_s32(vcvtnq_s32_f32(scaled.low)), vmovn_s32(vcvtnq_s32_f32(scaled.high))));
}

}  // namespace
}  // namespace qwen3cpu::neon
