// q4a weights times int8 activations by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// A group's sums of n * x are scaled as floats. What its minimum brings is there before: it meets the sum of the
// activations.
#pragma once

#include "kernels/q4a_sums.h"
#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

// part[i][t] = what block b of R registers of row tiles adds before the scale of the activations; here: groups of 32
// that it has; sums: of the block's first group.
template <int G, class Rows, int R, int T>
QWEN3CPU_INLINE void multiply_block(const Q4aBlock<G>* const (&block)[R], int64_t apart, int here, const Tokens& x,
                                    int b, const float* sums, int groups, typename Rows::Float (&part)[R][T]) {
  constexpr int parts = G / kGroup;
  const int64_t apart_floats = apart / int64_t{sizeof(float)};
  const int8_t* q = x.q + int64_t{b} * Q4aBlock<G>::kCols;
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) part[i][t] = Rows::zero();
  for (int g = 0; g * parts < here; ++g)
    for (int i = 0; i < R; ++i) {
      prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->minimum[g], apart);
      const typename Rows::Float minimum = Rows::load_floats(block[i]->minimum[g], apart_floats);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) part[i][t] = Rows::fma(minimum, sums[t * groups + g], part[i][t]);
    }
#pragma GCC unroll 1
  for (int g = 0; g * parts < here; ++g) {
    const int end = (g + 1) * parts < here ? (g + 1) * parts : here;
    typename Rows::Int sum[R][T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      for (int i = 0; i < R; ++i) sum[i][t] = Rows::set1(0);
#pragma GCC unroll 1
    for (int k = g * parts; k < end; ++k) add_32<Rows>(block, apart, k, q + k * kGroup, x.stride, sum);
    for (int i = 0; i < R; ++i) {
      prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->scale[g], apart);
      const typename Rows::Float scale = Rows::load_floats(block[i]->scale[g], apart_floats);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) part[i][t] = Rows::fma(sum[i][t], scale, part[i][t]);
    }
  }
}

// R registers of row tiles, tile `tile` first and `apart` tiles from each other.
template <int G, class Rows, int R, int T>
__attribute__((noinline)) void multiply_q4a_tiles(const Matrix& w, int tile, int apart, const Tokens& x,
                                                  const float* sums, float* y, int64_t ldy) {
  using Block = Q4aBlock<G>;
  constexpr int block_32 = Block::kCols / kGroup;
  const int in_all = ceil_div(w.cols, kGroup), groups = ceil_div(w.cols, G);
  const int64_t apart_bytes = apart * tile_bytes_of<Block>(w.cols), apart_rows = int64_t{apart} * kTileRows;
  const Block* block[R];
  typename Rows::Float acc[R][T], part[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Block*>(w.tile(tile + i * Rows::kTiles * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = Rows::zero();
  }
  for (int b = 0; b * block_32 < in_all; ++b) {
    const int left = in_all - b * block_32, here = left < block_32 ? left : block_32;
    multiply_block<G, Rows, R, T>(block, apart_bytes, here, x, b, sums + b * Block::kGroups, groups, part);
    for (int i = 0; i < R; ++i) {
      for (int t = 0; t < T; ++t) acc[i][t] = Rows::fma(part[i][t], x.scale[t * x.scales + b], acc[i][t]);
      ++block[i];
    }
  }
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) Rows::store(y + t * ldy + i * Rows::kTiles * apart_rows, apart_rows, acc[i][t]);
}

template <int G>
struct Q4aProduct {
  template <class Rows>
  static const float* start(const Tokens& x, int tokens, int cols, uint8_t* scratch) {
    static_assert(Rows::kMaxTokens <= kMostRun);
    return sums_of_groups<G>(x, tokens, cols, scratch);
  }
  template <class Rows, int R, int T>
  static void run(const Matrix& w, int tile, int apart, const Tokens& x, const float* sums, float* y, int64_t ldy) {
    multiply_q4a_tiles<G, Rows, R, T>(w, tile, apart, x, sums, y, ldy);
  }
};

// A MatmulFn for groups of G.
template <int G, class Rows>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t* scratch) {
  multiply<Rows, Q4aProduct<G>>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
}

}  // namespace
}  // namespace qwen3cpu::vnni
