// q4s weights times int8 activations: one row tile against up to kMaxTokens tokens of a Dot (dot.h), nibbles unpacked
// in registers. Internal linkage; a variant's q4s.cc hands its Dot in.
//
// The -8 of the nibbles is where a group's sums start: -8 * (sum of the activations).
#pragma once

#include "kernels/neon/dot.h"

namespace qwen3cpu::neon {
namespace {

constexpr int kQ4sPrefetch = 1024;  // bytes ahead, in tiles of so few tokens that memory may be what they wait for:
constexpr int kQ4sTokensToPrefetch = 2;

// dot[t] += scale * sum((nibble - 8) * x_t) over group g of the block.
template <class Dot, int T>
QWEN3CPU_INLINE void add_q4s_group(const Q4sBlock& block, int g, const int8_t* x, const int16_t* sum,
                                   const Tokens& tokens, Rows (&dot)[T]) {
  int32_t start[T];
  for (int t = 0; t < T; ++t) start[t] = -8 * sum[t * tokens.sums];
  typename Dot::template Sums<T, true> sums(start);
  const uint8_t* nibbles = block.q[g][0][0];
  if (T <= kQ4sTokensToPrefetch) {
    prefetch(nibbles, kQ4sPrefetch);
    prefetch(nibbles + kCacheLine, kQ4sPrefetch);
  }
  Weights16 w;
#pragma GCC unroll 2
  for (int part = 0; part < 2; ++part) {  // low nibbles, then high ones: 16 weights of 8 rows fill 8 registers
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const uint8x16_t two = vld1q_u8(nibbles + 32 * v + 16 * half);
        w[v][half] = part == 0 ? vandq_u8(two, vdupq_n_u8(15)) : vshrq_n_u8(two, 4);
      }
    sums.add(w, x + part * kGroup / 2, tokens.stride);
  }
  const int16x8_t scale = vmovl_s8(vld1_s8(block.scale[g]));
  const int32x4_t scale_low = vmovl_s16(vget_low_s16(scale)), scale_high = vmovl_high_s16(scale);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const Rows rows = sums.rows(t);
    dot[t].low = vmlaq_s32(dot[t].low, rows.low, scale_low);
    dot[t].high = vmlaq_s32(dot[t].high, rows.high, scale_high);
  }
}

// y[t * ldy + r] of one row tile and T tokens.
template <class Dot, int T>
__attribute__((noinline)) void multiply_q4s_tile(const uint8_t* tile, const float* row_scales, int groups,
                                                 const Tokens& x, float* y, int64_t ldy) {
  const auto* blocks = reinterpret_cast<const Q4sBlock*>(tile);
  F8 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = all8(0.0f);
  for (int b = 0; b * Q4sBlock::kGroups < groups; ++b) {
    const int left = groups - b * Q4sBlock::kGroups, here = left < Q4sBlock::kGroups ? left : Q4sBlock::kGroups;
    const int8_t* q = x.q + int64_t{b} * Q4sBlock::kCols;
    const int16_t* sum = x.sum + int64_t{b} * Q4sBlock::kGroups;
    Rows dot[T];
    for (int t = 0; t < T; ++t) dot[t] = {vdupq_n_s32(0), vdupq_n_s32(0)};
#pragma GCC unroll 1
    for (int g = 0; g < here; ++g) add_q4s_group<Dot, T>(blocks[b], g, q + g * kGroup, sum + g, x, dot);
    for (int t = 0; t < T; ++t)
      acc[t] = fma(acc[t], F8{vcvtq_f32_s32(dot[t].low), vcvtq_f32_s32(dot[t].high)}, x.scale[t * x.scales + b]);
  }
  for (int t = 0; t < T; ++t) store8(y + t * ldy, acc[t] * load8(row_scales));
}

template <class Dot, int T>
QWEN3CPU_INLINE void multiply_q4s_tiles(Count<T>, const Matrix& w, int first_tile, int n_tiles, const Tokens& x,
                                        float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  for (int tile = 0; tile < n_tiles; ++tile)
    multiply_q4s_tile<Dot, T>(w.tile(first_tile + tile), w.row_scales(first_tile + tile), groups, x,
                              y + tile * kTileRows, ldy);
}

template <class Dot>
void multiply_q4s(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy) {
  for_token_runs<Dot::kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    multiply_q4s_tiles<Dot>(count, w, first_tile, n_tiles, tokens, to, ldy);
  });
}

}  // namespace
}  // namespace qwen3cpu::neon
