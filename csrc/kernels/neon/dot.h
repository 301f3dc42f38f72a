// Integer products of 16 weights along k, for every NEON variant's kernels of the quantised formats. Internal linkage.
//
// A variant is a class with
//   kMaxTokens                     tokens that share the weights' loads
//   weights(bytes), start(sum)     q8: the bytes (q + 128) in the form of add(), and the sum's first value for this
//   form Sums<T, kNibbles>              sums of one group of 32 for T tokens and 8 rows
//     Sums(start)                  start [T]
//     add(w, x, stride)            adds 16 k; w: the weights; x: the first token's activations, 16-byte loads
//     rows(t)                      token t's sums, int32
// kNibbles: weights are 0..15, and add() is called twice; otherwise they are what weights() returned.
#pragma once

#include "kernels/neon/simd.h"
#include "kernels/token_runs.h"

namespace qwen3cpu::neon {
namespace {

// [4 quads of k][rows 0-3, rows 4-7], each [4 rows][4 k]
using Weights16 = uint8x16_t[4][2];

struct Rows {
  int32x4_t low, high;  // rows 0-3 and 4-7
};

// The baseline's variant: products in int16, a register for a pair of rows. Nothing wraps: 8 products of a nibble are
// at most 8 * 15 * 127 = 15,240, and two of a full byte 2 * 128 * 127 = 32,512.
class Widening {
 public:
  static constexpr int kMaxTokens = 4;

  static uint8x16_t weights(uint8x16_t bytes) { return veorq_u8(bytes, vdupq_n_u8(0x80)); }
  static int32_t start(int16_t) { return 0; }

  template <int T, bool kNibbles>
  class Sums;
};

// The 4 bytes at p in every 32-bit lane.
QWEN3CPU_INLINE int8x16_t broadcast4(const int8_t* p) {
  int32_t x;
  std::memcpy(&x, p, sizeof(x));
  return vreinterpretq_s8_s32(vdupq_n_s32(x));
}

template <int T>
class Widening::Sums<T, true> {
 public:
  QWEN3CPU_INLINE explicit Sums(const int32_t (&start)[T]) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      start_[t] = start[t];
      for (auto& sum : sum_[t]) sum = vdupq_n_s16(0);
    }
  }

  QWEN3CPU_INLINE void add(const Weights16& w, const int8_t* x, int64_t stride) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
      for (int quad = 0; quad < 4; ++quad) {
        const int8x16_t xq = broadcast4(x + t * stride + 4 * quad);
        const int8x16_t low = vreinterpretq_s8_u8(w[quad][0]), high = vreinterpretq_s8_u8(w[quad][1]);
        sum_[t][0] = vmlal_s8(sum_[t][0], vget_low_s8(low), vget_low_s8(xq));
        sum_[t][1] = vmlal_high_s8(sum_[t][1], low, xq);
        sum_[t][2] = vmlal_s8(sum_[t][2], vget_low_s8(high), vget_low_s8(xq));
        sum_[t][3] = vmlal_high_s8(sum_[t][3], high, xq);
      }
    }
  }

  QWEN3CPU_INLINE Rows rows(int t) const {
    const int32x4_t start = vdupq_n_s32(start_[t]);
    return {vaddq_s32(start, vpaddq_s32(vpaddlq_s16(sum_[t][0]), vpaddlq_s16(sum_[t][1]))),
            vaddq_s32(start, vpaddq_s32(vpaddlq_s16(sum_[t][2]), vpaddlq_s16(sum_[t][3])))};
  }

 private:
  int32_t start_[T];
  int16x8_t sum_[T][4];  // rows 0-1, 2-3, 4-5, 6-7: [2 rows][4 k]
};

template <int T>
class Widening::Sums<T, false> {
 public:
  QWEN3CPU_INLINE explicit Sums(const int32_t (&)[T]) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      for (auto& sum : sum_[t]) sum = vdupq_n_s32(0);
  }

  QWEN3CPU_INLINE void add(const Weights16& w, const int8_t* x, int64_t stride) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
      for (int quad = 0; quad < 4; quad += 2) {
        const int8x16_t x0 = broadcast4(x + t * stride + 4 * quad), x1 = broadcast4(x + t * stride + 4 * quad + 4);
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const int8x16_t w0 = vreinterpretq_s8_u8(w[quad][half]), w1 = vreinterpretq_s8_u8(w[quad + 1][half]);
          const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(w0), vget_low_s8(x0)), vget_low_s8(w1), vget_low_s8(x1));
          const int16x8_t high = vmlal_high_s8(vmull_high_s8(w0, x0), w1, x1);
          sum_[t][2 * half] = vpadalq_s16(sum_[t][2 * half], low);
          sum_[t][2 * half + 1] = vpadalq_s16(sum_[t][2 * half + 1], high);
        }
      }
    }
  }

  QWEN3CPU_INLINE Rows rows(int t) const {
    return {vpaddq_s32(sum_[t][0], sum_[t][1]), vpaddq_s32(sum_[t][2], sum_[t][3])};
  }

 private:
  int32x4_t sum_[T][4];  // rows 0-1, 2-3, 4-5, 6-7: [2 rows][2 sums]
};

}  // namespace
}  // namespace qwen3cpu::neon
