// Sums of products by SDOT: a lane is a row, an instruction 4 k of 4 rows. Internal linkage. See kernels/neon/dot.h.
#pragma once

#include "kernels/dotprod/kernels.h"
#include "kernels/neon/dot.h"

namespace qwen3cpu::dotprod {
namespace {

class Sdot {
 public:
  static constexpr int kMaxTokens = 4;

  static uint8x16_t weights(uint8x16_t bytes) { return veorq_u8(bytes, vdupq_n_u8(0x80)); }
  static int32_t start(int16_t) { return 0; }

  template <int T, bool kNibbles>
  class Sums {
   public:
    QWEN3CPU_INLINE explicit Sums(const int32_t (&start)[T]) {
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) sum_[t] = {vdupq_n_s32(start[t]), vdupq_n_s32(start[t])};
    }

    QWEN3CPU_INLINE void add(const neon::Weights16& w, const int8_t* x, int64_t stride) {
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const int8x16_t xt = vld1q_s8(x + t * stride);
        add_quad<0>(w, xt, sum_[t]);
        add_quad<1>(w, xt, sum_[t]);
        add_quad<2>(w, xt, sum_[t]);
        add_quad<3>(w, xt, sum_[t]);
      }
    }

    QWEN3CPU_INLINE neon::Rows rows(int t) const { return sum_[t]; }

   private:
    template <int kQuad>
    static QWEN3CPU_INLINE void add_quad(const neon::Weights16& w, int8x16_t x, neon::Rows& sum) {
      sum.low = vdotq_laneq_s32(sum.low, vreinterpretq_s8_u8(w[kQuad][0]), x, kQuad);
      sum.high = vdotq_laneq_s32(sum.high, vreinterpretq_s8_u8(w[kQuad][1]), x, kQuad);
    }

    neon::Rows sum_[T];
  };
};

}  // namespace
}  // namespace qwen3cpu::dotprod
