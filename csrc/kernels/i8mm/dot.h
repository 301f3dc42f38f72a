// Sums of products by USMMLA: an instruction multiplies 8 k of 2 rows with 8 k of 2 tokens, twice the work of a dot
// product. A token without a partner uses USDOT. Internal linkage. See kernels/neon/dot.h.
#pragma once

#include "kernels/i8mm/kernels.h"
#include "kernels/neon/dot.h"

namespace qwen3cpu::i8mm {
namespace {

// [first and last 8 k][rows 0-1, 2-3, 4-5, 6-7], each [2 rows][8 k]
using TwoRows = uint8x16_t[2][4];

QWEN3CPU_INLINE void pair_rows(const neon::Weights16& w, TwoRows& two_rows) {
#pragma GCC unroll 2
  for (int eight = 0; eight < 2; ++eight)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const uint32x4_t a = vreinterpretq_u32_u8(w[2 * eight][half]);
      const uint32x4_t b = vreinterpretq_u32_u8(w[2 * eight + 1][half]);
      two_rows[eight][2 * half] = vreinterpretq_u8_u32(vzip1q_u32(a, b));
      two_rows[eight][2 * half + 1] = vreinterpretq_u8_u32(vzip2q_u32(a, b));
    }
}

// Adds 16 k of the weights times 16 k of the tokens at x and at next. sum: [4], each [2 rows][2 tokens].
QWEN3CPU_INLINE void add_pair(const TwoRows& two_rows, const int8_t* x, const int8_t* next, int32x4_t (&sum)[4]) {
  const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x)), b = vreinterpretq_s64_s8(vld1q_s8(next));
  const int8x16_t first = vreinterpretq_s8_s64(vzip1q_s64(a, b)), last = vreinterpretq_s8_s64(vzip2q_s64(a, b));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    sum[i] = vusmmlaq_s32(sum[i], two_rows[0][i], first);
    sum[i] = vusmmlaq_s32(sum[i], two_rows[1][i], last);
  }
}

// The sums of the first (0) or the second token.
QWEN3CPU_INLINE neon::Rows rows_of(const int32x4_t (&sum)[4], int token) {
  if (token == 0) return {vuzp1q_s32(sum[0], sum[1]), vuzp1q_s32(sum[2], sum[3])};
  return {vuzp2q_s32(sum[0], sum[1]), vuzp2q_s32(sum[2], sum[3])};
}

class Usmmla {
 public:
  static constexpr int kMaxTokens = 4;
  static constexpr int kPanelLeast = 16, kPanelRun = 8, kPanelPlace = -85;

  static uint8x16_t times(uint8x16_t nibbles, uint8x16_t s) { return vmulq_u8(nibbles, s); }

  static void arrange(const neon::Weights16& w, uint8_t* to) {
    TwoRows two_rows;
    pair_rows(w, two_rows);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) vst1q_u8(to + 16 * i, two_rows[i / 4][i % 4]);
  }

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
      return rows_of(pair_[t / 2], t % 2);
    }

   private:
    static constexpr int kPairs = T / 2;
    static constexpr bool kSingle = T % 2 == 1;

    QWEN3CPU_INLINE void add_pairs(const neon::Weights16& w, const int8_t* x, int64_t stride) {
      TwoRows two_rows;
      pair_rows(w, two_rows);
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) add_pair(two_rows, x + 2 * p * stride, x + (2 * p + 1) * stride, pair_[p]);
    }

    template <int kQuad>
    QWEN3CPU_INLINE void add_quad(const neon::Weights16& w, int8x16_t x) {
      single_.low = vusdotq_laneq_s32(single_.low, w[kQuad][0], x, kQuad);
      single_.high = vusdotq_laneq_s32(single_.high, w[kQuad][1], x, kQuad);
    }

    int32x4_t pair_[kPairs > 0 ? kPairs : 1][4];  // [2 rows][2 tokens]
    neon::Rows single_;
  };

  // A token without a partner is paired with itself.
  template <int T>
  class PanelSums {
   public:
    QWEN3CPU_INLINE PanelSums() {
#pragma GCC unroll 4
      for (auto& pair : pair_)
#pragma GCC unroll 4
        for (int32x4_t& sum : pair) sum = vdupq_n_s32(0);
    }

    QWEN3CPU_INLINE void add(const uint8_t* w, const int8_t* x, int64_t stride) {
      TwoRows two_rows;
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) two_rows[i / 4][i % 4] = vld1q_u8(w + 16 * i);
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p)
        add_pair(two_rows, x + 2 * p * stride, x + (2 * p + 1 < T ? 2 * p + 1 : 2 * p) * stride, pair_[p]);
    }

    QWEN3CPU_INLINE neon::Rows rows(int t) const { return rows_of(pair_[t / 2], t % 2); }

   private:
    static constexpr int kPairs = (T + 1) / 2;
    int32x4_t pair_[kPairs][4];
  };
};

}  // namespace
}  // namespace qwen3cpu::i8mm
