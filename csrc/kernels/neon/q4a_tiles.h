// q4a weights times int8 activations: one row tile against up to kMaxTokens tokens of a Dot (dot.h). Internal linkage;
// a variant's q4a.cc passes its Dot.
#pragma once

#include "kernels/neon/q4_tiles.h"
#include "kernels/q4a_sums.h"

namespace qwen3cpu::neon {
namespace {

// Adds group g of a block of a row tile to acc.
//   n           groups of 32 in it
//   q, scale_x  the activations of the first of these, and their scales
//   sums        [tokens][groups in all], from this group on
template <class Dot, int G, int T>
QWEN3CPU_INLINE void add_scaled_group(const Q4aBlock<G>& block, int g, int n, const Tokens& x, const int8_t* q,
                                      const float* scale_x, const float* sums, int groups, F8 (&acc)[T]) {
  constexpr int parts = G / kGroup;
  constexpr int32_t zeros[T] = {};
  F8 products[T];
  const F8 minimum = load8(block.minimum[g]);
  for (int t = 0; t < T; ++t) {
    acc[t] = fma(acc[t], minimum, sums[t * groups]);
    products[t] = all8(0.0f);
  }
#pragma GCC unroll 1
  for (int k = 0; k < n; ++k) {
    typename Dot::template Sums<T, true> dots(zeros);
    add_nibbles<T>(block.q[g * parts + k][0][0], q + k * kGroup, x.stride, dots);
    for (int t = 0; t < T; ++t) {
      const Rows rows = dots.rows(t);
      const F8 floats{vcvtq_f32_s32(rows.low), vcvtq_f32_s32(rows.high)};
      products[t] = fma(products[t], floats, scale_x[t * x.scales + k]);
    }
  }
  const F8 scale = load8(block.scale[g]);
  for (int t = 0; t < T; ++t) acc[t] = fma(acc[t], products[t], scale);
}

// y[t * ldy + r] of one row tile and T tokens.
template <class Dot, int G, int T>
__attribute__((noinline)) void multiply_q4a_tile(const uint8_t* tile, int cols, const Tokens& x, const float* sums,
                                                 float* y, int64_t ldy) {
  constexpr int parts = G / kGroup, in_block = Q4aBlock<G>::kGroups;
  const auto* blocks = reinterpret_cast<const Q4aBlock<G>*>(tile);
  const int in_all = ceil_div(cols, kGroup), groups = ceil_div(cols, G);
  F8 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = all8(0.0f);
  for (int g = 0; g < groups; ++g) {
    const int first = g * parts, n = in_all - first < parts ? in_all - first : parts;
    add_scaled_group<Dot, G, T>(blocks[g / in_block], g % in_block, n, x, x.q + int64_t{first} * kGroup,
                                x.scale + first, sums + g, groups, acc);
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
