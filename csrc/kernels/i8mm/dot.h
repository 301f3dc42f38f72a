// Sums of products by USMMLA: an instruction multiplies 8 k of 2 rows with those of 2 tokens, twice what a dot product
// does. A token without a partner takes USDOT. Internal linkage. See kernels/neon/dot.h.
#pragma once

#include "kernels/i8mm/kernels.h"
#include "kernels/neon/dot.h"

namespace qwen3cpu::i8mm {
namespace {

class Usmmla {
 public:
  static constexpr int kMaxTokens = 4;

  static uint8x16_t weights(uint8x16_t bytes) { return bytes; }
  static int32_t start(int16_t sum) { return -128 * sum; }

  template <int T, bool kNibbles>
  class Sums {
   public:
    QWEN3CPU_INLINE explicit Sums(const int32_t (&start)[T]) {
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) {
        const uint64_t two = static_cast<uint32_t>(start[2 * p]) | static_cast<uint64_t>(start[2 * p + 1]) << 32;
        const int32x4_t both = vreinterpretq_s32_u64(vdupq_n_u64(two));
        for (auto& sum : pair_[p]) sum = both;
      }
      if constexpr (kSingle) single_ = {vdupq_n_s32(start[T - 1]), vdupq_n_s32(start[T - 1])};
    }

    QWEN3CPU_INLINE void add(const neon::Weights16& w, const int8_t* x, int64_t stride) {
      if constexpr (kPairs > 0) add_pairs(w, x, stride);
      if constexpr (kSingle) {
        const int8x16_t xt = vld1q_s8(x + (T - 1) * stride);
        add_quad<0>(w, xt);
        add_quad<1>(w, xt);
        add_quad<2>(w, xt);
        add_quad<3>(w, xt);
      }
    }

    QWEN3CPU_INLINE neon::Rows rows(int t) const {
      if (kSingle && t == T - 1) return single_;
      const int32x4_t(&sum)[4] = pair_[t / 2];
      if (t % 2 == 0) return {vuzp1q_s32(sum[0], sum[1]), vuzp1q_s32(sum[2], sum[3])};
      return {vuzp2q_s32(sum[0], sum[1]), vuzp2q_s32(sum[2], sum[3])};
    }

   private:
    static constexpr int kPairs = T / 2;
    static constexpr bool kSingle = T % 2 == 1;

    QWEN3CPU_INLINE void add_pairs(const neon::Weights16& w, const int8_t* x, int64_t stride) {
      uint8x16_t two_rows[2][4];  // [first and last 8 k][rows 0-1, 2-3, 4-5, 6-7]
#pragma GCC unroll 2
      for (int eight = 0; eight < 2; ++eight)
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const uint32x4_t a = vreinterpretq_u32_u8(w[2 * eight][half]);
          const uint32x4_t b = vreinterpretq_u32_u8(w[2 * eight + 1][half]);
          two_rows[eight][2 * half] = vreinterpretq_u8_u32(vzip1q_u32(a, b));
          two_rows[eight][2 * half + 1] = vreinterpretq_u8_u32(vzip2q_u32(a, b));
        }
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) {
        const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x + 2 * p * stride));
        const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(x + (2 * p + 1) * stride));
        const int8x16_t first = vreinterpretq_s8_s64(vzip1q_s64(a, b)), last = vreinterpretq_s8_s64(vzip2q_s64(a, b));
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          pair_[p][i] = vusmmlaq_s32(pair_[p][i], two_rows[0][i], first);
          pair_[p][i] = vusmmlaq_s32(pair_[p][i], two_rows[1][i], last);
        }
      }
    }

    template <int kQuad>
    QWEN3CPU_INLINE void add_quad(const neon::Weights16& w, int8x16_t x) {
      single_.low = vusdotq_laneq_s32(single_.low, w[kQuad][0], x, kQuad);
      single_.high = vusdotq_laneq_s32(single_.high, w[kQuad][1], x, kQuad);
    }

    int32x4_t pair_[kPairs > 0 ? kPairs : 1][4];  // [2 rows][2 tokens]
    neon::Rows single_;
  };
};

}  // namespace
}  // namespace qwen3cpu::i8mm
