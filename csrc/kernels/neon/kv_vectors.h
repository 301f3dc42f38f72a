// Eight stored keys or values as floats, for each KV format, and the scales of positions. Internal linkage.
#pragma once

#include "kernels/neon/simd.h"

namespace qwen3cpu::neon {
namespace {

struct F32 {
  using Stored = float;
  static constexpr bool kScaled = false;
  static F8 load(const float* p) { return load8(p); }
};

struct F16 {
  using Stored = uint16_t;
  static constexpr bool kScaled = false;
  static F8 load(const uint16_t* p) {
    const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
    return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
  }
};

struct Q8 {
  using Stored = int8_t;
  static constexpr bool kScaled = true;
  static F8 load(const int8_t* p) {
    const int16x8_t words = vmovl_s8(vld1_s8(p));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))};
  }
};

// Multiplies x[p] by the scale of position p, in the vectors that hold any of `count` positions, where the format has
// scales: they stand behind the plane's data.
template <class Kv>
inline void scale_positions(const typename Kv::Stored* plane, int count, int dim, float* x) {
  if constexpr (Kv::kScaled) {
    const auto* scales = reinterpret_cast<const float*>(plane + int64_t{kKvBlock} * dim);
    for (int p = 0; p < count; p += kLanes) store8(x + p, load8(x + p) * load8(scales + p));
  }
}

}  // namespace
}  // namespace qwen3cpu::neon
