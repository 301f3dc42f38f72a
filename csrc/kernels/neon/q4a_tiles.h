// q4a weights times int8 activations: one row tile against up to kMaxTokens tokens of a Dot (dot.h). Internal linkage;
// a variant's q4a.cc hands its Dot in.
#pragma once

#include "kernels/neon/q4_tiles.h"
#include "kernels/q4a_sums.h"

namespace qwen3cpu::neon {
namespace {

// part[t] = what block b of a row tile adds before the scale of the activations; here: groups of 32 that it has; sums:
// of the block's first group.
template <class Dot, int G, int T>
QWEN3CPU_INLINE void multiply_q4a_block(const Q4aBlock<G>& block, int here, const Tokens& x, int b, const float* sums,
                                        int groups, F8 (&part)[T]) {
  constexpr int parts = G / kGroup;
  constexpr int32_t zeros[T] = {};
  const int8_t* q = x.q + int64_t{b} * Q4aBlock<G>::kCols;
  for (int t = 0; t < T; ++t) part[t] = all8(0.0f);
  for (int g = 0; g * parts < here; ++g) {
    const F8 minimum = load8(block.minimum[g]);
    for (int t = 0; t < T; ++t) part[t] = fma(part[t], minimum, sums[t * groups + g]);
  }
#pragma GCC unroll 1
  for (int g = 0; g * parts < here; ++g) {
    const int end = (g + 1) * parts < here ? (g + 1) * parts : here;
    Rows dot[T];
    for (int t = 0; t < T; ++t) dot[t] = {vdupq_n_s32(0), vdupq_n_s32(0)};
#pragma GCC unroll 1
    for (int k = g * parts; k < end; ++k) {
      typename Dot::template Sums<T, true> products(zeros);
      add_nibbles<T>(block.q[k][0][0], q + k * kGroup, x.stride, products);
      for (int t = 0; t < T; ++t) {
        const Rows rows = products.rows(t);
        dot[t] = {vaddq_s32(dot[t].low, rows.low), vaddq_s32(dot[t].high, rows.high)};
      }
    }
    const F8 scale = load8(block.scale[g]);
    for (int t = 0; t < T; ++t)
      part[t] = fma(part[t], F8{vcvtq_f32_s32(dot[t].low), vcvtq_f32_s32(dot[t].high)}, scale);
  }
}

// y[t * ldy + r] of one row tile and T tokens.
template <class Dot, int G, int T>
__attribute__((noinline)) void multiply_q4a_tile(const uint8_t* tile, int cols, const Tokens& x, const float* sums,
                                                 float* y, int64_t ldy) {
  constexpr int block_32 = Q4aBlock<G>::kCols / kGroup;
  const auto* blocks = reinterpret_cast<const Q4aBlock<G>*>(tile);
  const int in_all = ceil_div(cols, kGroup), groups = ceil_div(cols, G);
  F8 acc[T], part[T];
  for (int t = 0; t < T; ++t) acc[t] = all8(0.0f);
  for (int b = 0; b * block_32 < in_all; ++b) {
    const int left = in_all - b * block_32, here = left < block_32 ? left : block_32;
    multiply_q4a_block<Dot, G, T>(blocks[b], here, x, b, sums + b * Q4aBlock<G>::kGroups, groups, part);
    for (int t = 0; t < T; ++t) acc[t] = fma(acc[t], part[t], x.scale[t * x.scales + b]);
  }
  for (int t = 0; t < T; ++t) store8(y + t * ldy, acc[t]);
}

// A MatmulFn for groups of G.
template <class Dot, int G>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t* scratch) {
  static_assert(Dot::kMaxTokens <= kMostRun);
  for_token_runs<Dot::kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    constexpr int T = count.value;
    const float* sums = sums_of_groups<G>(tokens, T, w.cols, scratch);
    for (int tile = 0; tile < n_tiles; ++tile)
      multiply_q4a_tile<Dot, G, T>(w.tile(first_tile + tile), w.cols, tokens, sums, to + tile * kTileRows, ldy);
  });
}

}  // namespace
}  // namespace qwen3cpu::neon
