// q4a weights times int8 activations by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// Each 32 k have a scale of their activations. Their sums of n * x are multiplied by it as floats. The total of a group
// is multiplied by the scale of its weights, and the sum of its inputs by its minimum.
#pragma once

#include "kernels/q4a_sums.h"
#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

// Adds group g of a block of R registers of row tiles to acc.
//   n           groups of 32 in it
//   q, scale_x  the activations of the first of these, and their scales
//   sums        [tokens][groups in all], from this group on
template <int G, class Rows, int R, int T>
QWEN3CPU_INLINE void add_group(const Q4aBlock<G>* const (&block)[R], int64_t apart, int g, int n, const Tokens& x,
                               const int8_t* q, const float* scale_x, const float* sums, int groups,
                               typename Rows::Float (&acc)[R][T]) {
  constexpr int parts = G / kGroup;
  const int64_t apart_floats = apart / int64_t{sizeof(float)};
  typename Rows::Float products[R][T];
  for (int i = 0; i < R; ++i) {
    prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->minimum[g], apart);
    const typename Rows::Float minimum = Rows::load_floats(block[i]->minimum[g], apart_floats);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      acc[i][t] = Rows::fma(minimum, sums[t * groups], acc[i][t]);
      products[i][t] = Rows::zero();
    }
  }
#pragma GCC unroll 1
  for (int k = 0; k < n; ++k) {
    typename Rows::Int sum[R][T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      for (int i = 0; i < R; ++i) sum[i][t] = Rows::set1(0);
    add_32<Rows>(block, apart, g * parts + k, q + k * kGroup, x.stride, sum);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      for (int i = 0; i < R; ++i) products[i][t] = Rows::fma(sum[i][t], scale_x[t * x.scales + k], products[i][t]);
  }
  for (int i = 0; i < R; ++i) {
    prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->scale[g], apart);
    const typename Rows::Float scale = Rows::load_floats(block[i]->scale[g], apart_floats);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[i][t] = Rows::fma(products[i][t], scale, acc[i][t]);
  }
}

// R registers of row tiles, tile `tile` first and `apart` tiles from each other.
template <int G, class Rows, int R, int T>
__attribute__((noinline)) void multiply_q4a_tiles(const Matrix& w, int tile, int apart, const Tokens& x,
                                                  const float* sums, float* y, int64_t ldy) {
  using Block = Q4aBlock<G>;
  constexpr int parts = G / kGroup;
  const int in_all = ceil_div(w.cols, kGroup), groups = ceil_div(w.cols, G);
  const int64_t apart_bytes = apart * tile_bytes_of<Block>(w.cols), apart_rows = int64_t{apart} * kTileRows;
  const Block* block[R];
  typename Rows::Float acc[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Block*>(w.tile(tile + i * Rows::kTiles * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = Rows::zero();
  }
  for (int g = 0; g < groups; ++g) {
    const int first = g * parts, n = in_all - first < parts ? in_all - first : parts;
    add_group<G, Rows, R, T>(block, apart_bytes, g % Block::kGroups, n, x, x.q + int64_t{first} * kGroup,
                             x.scale + first, sums + g, groups, acc);
    if (g % Block::kGroups == Block::kGroups - 1)
      for (int i = 0; i < R; ++i) ++block[i];
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
