// Eight stored keys or values as floats, for each KV format, and the registers that hold them. Internal linkage.
#pragma once

#include "kernels/kv_block.h"
#include "kernels/neon/softmax.h"

namespace qwen3cpu::neon {
namespace {

// The other members that kernels/kv_block.h needs.
struct KvSimd : Simd {
  static constexpr bool kFetchesAhead = false;
  static void fetch(const void*, int) {}

  // 8 pairs of chains hide a latency of 4 cycles on up to four pipes, and leave half of the registers to the
  // conversions.
  template <int R>
  static constexpr int kChains = R == 4   ? 2
                                 : R == 2 ? 4
                                          : 8;

  static float soften(float* score, int count, SoftmaxState& state) { return neon::soften(score, count, state); }
};

struct F32 {
  using Stored = float;
  using Simd = KvSimd;
  static constexpr bool kScaled = false;
  static F8 load(const float* p) { return load8(p); }
};

struct F16 {
  using Stored = uint16_t;
  using Simd = KvSimd;
  static constexpr bool kScaled = false;
  static F8 load(const uint16_t* p) {
    const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
    return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
  }
};

struct Q8 {
  using Stored = int8_t;
  using Simd = KvSimd;
  static constexpr bool kScaled = true;
  static F8 load(const int8_t* p) {
    const int16x8_t words = vmovl_s8(vld1_s8(p));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))};
  }
};

}  // namespace
}  // namespace qwen3cpu::neon
