// q4 weights times int8 activations of few tokens by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// A group's sums start at `-8 * (sum of the activations)`, so they end as `sum((n - 8) * x)`. That is at most
// `32 * 8 * 127 = 32,512`, which fits int16, and VPDPWSSD multiplies it by `8 s`. Another VPDPWSSD multiplies the sums
// of the activations of two groups by their `3 s (z - 7)`. Both add to the int32 sum of the block.
#pragma once

#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

constexpr int kQ4Groups = Q4Block::kGroups;

// By z: 3 (z - 7).
alignas(16) constexpr int8_t kZeros[16] = {-21, -18, -15, -12, -9, -6, -3, 0, 3, 6, 9, 12, 15, 18, 21, 24};

// eight_s[i][g]: 8 s of group g in the lower half of a lane. dot[i][t] = the terms of the places of zero. The last
// block has steps of zero for missing groups. They are multiplied by the elements behind the sums.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void start_q4_block(const Q4Block* const (&block)[R], int64_t apart, const int16_t* sum, int64_t sums,
                                    typename Rows::Int (&eight_s)[R][kQ4Groups], typename Rows::Int (&dot)[R][T]) {
  using Int = typename Rows::Int;
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dot[i][t] = Rows::set1(0);
#pragma GCC unroll 4
  for (int g = 0; g < kQ4Groups; g += 2) {
    Int zeros[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      const Int scales = Rows::scales_q4(block[i]->scale[g], apart), s = Rows::low_parts(scales);
      const Int eight = Rows::eightfold(s);
      zeros[i] = Rows::times_placed(s, scales, kZeros);
      eight_s[i][g] = Rows::lower_halves(eight);
      eight_s[i][g + 1] = Rows::upper_halves(eight);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      Int two = Rows::set1(four_bytes(sum + t * sums + g));
      Rows::pin(two);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) dot[i][t] = Rows::add_scaled(dot[i][t], two, zeros[i]);
    }
  }
}

// sum[i][t] += products of a k-quad of R registers with token t's activations at x.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_q4_quad(const typename Rows::Int (&w)[R], const int8_t* x, int t,
                                 typename Rows::Int (&sum)[R][T]) {
  typename Rows::Int quad = Rows::set1(four_bytes(x));
  Rows::pin(quad);  // one load for all registers
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) sum[i][t] = Rows::add_products(sum[i][t], w[i], quad);
}

// dot[i][t] += 8 s * sum((n - 8) * x_t) over group g of the blocks; x: first k of the group.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_q4_group(const Q4Block* const (&block)[R], int64_t apart, int g, const int8_t* x,
                                  int64_t stride, const int32_t* start, int groups,
                                  const typename Rows::Int (&eight_s)[R][kQ4Groups], typename Rows::Int (&dot)[R][T]) {
  using Int = typename Rows::Int;
  Int sum[R][T];
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) sum[i][t] = Rows::set1(start[t * groups]);
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    Int low[R], high[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      if (v % 2 == 0) prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->q[g][v], apart);
      const Int two = Rows::load(block[i]->q[g][v], apart);
      low[i] = Rows::low_nibbles(two);
      high[i] = Rows::high_nibbles(two);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) add_q4_quad<Rows>(low, x + t * stride + 4 * v, t, sum);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) add_q4_quad<Rows>(high, x + t * stride + 16 + 4 * v, t, sum);
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dot[i][t] = Rows::add_scaled(dot[i][t], sum[i][t], eight_s[i][g]);
}

// R registers of row tiles, tile `tile` first and `apart` tiles from each other.
template <class Rows, int R, int T>
__attribute__((noinline)) void multiply_q4_tiles(const Matrix& w, int tile, int apart, const Tokens& x,
                                                 const int32_t* start, float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  const int64_t apart_bytes = apart * tile_bytes(Format::q4, w.cols), apart_rows = int64_t{apart} * kTileRows;
  const Q4Block* block[R];
  typename Rows::Float acc[R][T];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Q4Block*>(w.tile(tile + i * Rows::kTiles * apart));
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[i][t] = Rows::zero();
  }
  for (int b = 0; b * kQ4Groups < groups; ++b) {
    const int first = b * kQ4Groups, left = groups - first, here = left < kQ4Groups ? left : kQ4Groups;
    typename Rows::Int dot[R][T], eight_s[R][kQ4Groups];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->scale, apart_bytes);
    start_q4_block<Rows, R, T>(block, apart_bytes, x.sum + first, x.sums, eight_s, dot);
#pragma GCC unroll 1
    for (int g = 0; g < here; ++g)
      add_q4_group<Rows, R, T>(block, apart_bytes, g, x.q + int64_t{first + g} * kGroup, x.stride, start + first + g,
                               groups, eight_s, dot);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) acc[i][t] = Rows::fma(dot[i][t], x.scale[t * x.scales + b], acc[i][t]);
      ++block[i];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    const int row_tile = i * Rows::kTiles * apart;
    const typename Rows::Float row_scale = Rows::load_floats(w.row_scales(tile + row_tile), apart_rows);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      Rows::store(y + t * ldy + row_tile * kTileRows, apart_rows, Rows::mul(acc[i][t], row_scale));
  }
}

struct Q4Product : OffsetProduct<-8> {
  template <class Rows, int R, int T>
  static void run(const Matrix& w, int tile, int apart, const Tokens& x, const int32_t* start, float* y, int64_t ldy) {
    multiply_q4_tiles<Rows, R, T>(w, tile, apart, x, start, y, ldy);
  }
};

}  // namespace
}  // namespace qwen3cpu::vnni
