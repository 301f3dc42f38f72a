// q8 weights times int8 activations: one row tile against up to kMaxTokens tokens of a Dot (dot.h). Internal linkage; a
// variant's q8.cc passes its Dot.
#pragma once

#include "kernels/neon/dot.h"

namespace qwen3cpu::neon {
namespace {

constexpr int kQ8Prefetch = 1024;  // bytes ahead

// acc[t] = fma(float(dot), scale_w * scale_x, acc[t]) for group g of the matrix, which is group `in_block` of its
// block.
template <class Dot, int T>
QWEN3CPU_INLINE void add_q8_group(const Q8Block& block, int in_block, int g, const Tokens& x, F8 (&acc)[T]) {
  int32_t start[T];
  for (int t = 0; t < T; ++t) start[t] = Dot::start(x.sum[t * x.sums + g]);
  typename Dot::template Sums<T, false> sums(start);
#pragma GCC unroll 2
  for (int part = 0; part < 2; ++part) {
    const uint8_t* bytes = block.q[in_block][4 * part][0];
    prefetch(bytes, kQ8Prefetch);
    prefetch(bytes + kCacheLine, kQ8Prefetch);
    Weights16 w;
#pragma GCC unroll 4
    for (int quad = 0; quad < 4; ++quad) {
      w[quad][0] = Dot::weights(vld1q_u8(bytes + 32 * quad));
      w[quad][1] = Dot::weights(vld1q_u8(bytes + 32 * quad + 16));
    }
    sums.add(w, x.q + int64_t{g} * kGroup + part * kGroup / 2, x.stride);
  }
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(block.scale[in_block]));
  const F8 scale = {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const Rows rows = sums.rows(t);
    const float scale_x = x.scale[t * x.scales + g];
    const F8 both = {vmulq_n_f32(scale.low, scale_x), vmulq_n_f32(scale.high, scale_x)};
    acc[t] = fma(acc[t], F8{vcvtq_f32_s32(rows.low), vcvtq_f32_s32(rows.high)}, both);
  }
}

// y[t * ldy + r] of one row tile and T tokens.
template <class Dot, int T>
__attribute__((noinline)) void multiply_q8_tile(const uint8_t* tile, int groups, const Tokens& x, float* y,
                                                int64_t ldy) {
  const auto* blocks = reinterpret_cast<const Q8Block*>(tile);
  F8 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = all8(0.0f);
#pragma GCC unroll 1
  for (int g = 0; g < groups; ++g) add_q8_group<Dot, T>(blocks[g / Q8Block::kGroups], g % Q8Block::kGroups, g, x, acc);
  for (int t = 0; t < T; ++t) store8(y + t * ldy, acc[t]);
}

template <class Dot, int T>
QWEN3CPU_INLINE void multiply_q8_tiles(Count<T>, const Matrix& w, int first_tile, int n_tiles, const Tokens& x,
                                       float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  for (int tile = 0; tile < n_tiles; ++tile)
    multiply_q8_tile<Dot, T>(w.tile(first_tile + tile), groups, x, y + tile * kTileRows, ldy);
}

template <class Dot>
void multiply_q8(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy) {
  for_token_runs<Dot::kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    multiply_q8_tiles<Dot>(count, w, first_tile, n_tiles, tokens, to, ldy);
  });
}

}  // namespace
}  // namespace qwen3cpu::neon
