// Sums of products by SDOT: a lane is a row, and an instruction multiplies 4 k of 4 rows. Internal linkage. See
// kernels/neon/dot.h.
#pragma once

#include "kernels/dotprod/kernels.h"
#include "kernels/neon/dot.h"

namespace qwen3cpu::dotprod {
namespace {

class Sdot {
 public:
  static constexpr int kMaxTokens = 4;
  static constexpr int kPanelLeast = 16, kPanelRun = 8, kPanelPlace = -21;

  // (n - 8) * s, signed
  static uint8x16_t times(uint8x16_t nibbles, uint8x16_t s) { return vmulq_u8(vsubq_u8(nibbles, vdupq_n_u8(8)), s); }

  static void arrange(const neon::Weights16& w, uint8_t* to) {
#pragma GCC unroll 4
    for (int quad = 0; quad < 4; ++quad) {
      vst1q_u8(to + 32 * quad, w[quad][0]);
      vst1q_u8(to + 32 * quad + 16, w[quad][1]);
    }
  }

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

  template <int T>
  class PanelSums {
   public:
    QWEN3CPU_INLINE void add(const uint8_t* w, const int8_t* x, int64_t stride) {
      neon::Weights16 weights;
#pragma GCC unroll 4
      for (int quad = 0; quad < 4; ++quad) {
        weights[quad][0] = vld1q_u8(w + 32 * quad);
        weights[quad][1] = vld1q_u8(w + 32 * quad + 16);
      }
      sums_.add(weights, x, stride);
    }
    QWEN3CPU_INLINE neon::Rows rows(int t) const { return sums_.rows(t); }

   private:
    static constexpr int32_t kZeros[T] = {};
    Sums<T, true> sums_{kZeros};
  };
};

}  // namespace
}  // namespace qwen3cpu::dotprod
