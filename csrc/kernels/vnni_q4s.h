// q4s weights times int8 activations by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// A group's sums start at `-8 * (sum of the activations)`, so they end as `sum((q - 8) * x)`. That is at most
// `32 * 8 * 127 = 32,512`, which fits int16, and VPDPWSSD multiplies it by the group's scale.
#pragma once

#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

// dot[i][t] += scale * sum((nibble - 8) * x_t) over group g of the blocks; x: first k of the group.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_group(const Q4sBlock* const (&block)[R], int64_t apart, int g, const int8_t* x, int64_t stride,
                               const int32_t* start, int groups, typename Rows::Int (&dot)[R][T]) {
  typename Rows::Int sum[R][T];
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t)
    for (int i = 0; i < R; ++i) sum[i][t] = Rows::set1(start[t * groups]);
  add_32<Rows>(block, apart, g, x, stride, sum);
  for (int i = 0; i < R; ++i) {
    const typename Rows::Int scale = Rows::scales_q4s(block[i]->scale[g], apart);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dot[i][t] = Rows::add_scaled(dot[i][t], sum[i][t], scale);
  }
}

// R registers of row tiles, tile `tile` first and `apart` tiles from each other.
template <class Rows, int R, int T>
__attribute__((noinline)) void multiply_q4s_tiles(const Matrix& w, int tile, int apart, const Tokens& x,
                                                  const int32_t* start, float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  const int64_t apart_bytes = apart * tile_bytes(Format::q4s, w.cols), apart_rows = int64_t{apart} * kTileRows;
  const Q4sBlock* block[R];
  typename Rows::Float acc[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Q4sBlock*>(w.tile(tile + i * Rows::kTiles * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = Rows::zero();
  }
  for (int b = 0; b * Q4sBlock::kGroups < groups; ++b) {
    const int first = b * Q4sBlock::kGroups, left = groups - first;
    const int here = left < Q4sBlock::kGroups ? left : Q4sBlock::kGroups;
    typename Rows::Int dot[R][T];
    for (int i = 0; i < R; ++i) {
      prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->scale, apart_bytes);
      for (int t = 0; t < T; ++t) dot[i][t] = Rows::set1(0);
    }
#pragma GCC unroll 1
    for (int g = 0; g < here; ++g)
      add_group<Rows, R, T>(block, apart_bytes, g, x.q + int64_t{first + g} * kGroup, x.stride, start + first + g,
                            groups, dot);
    for (int i = 0; i < R; ++i) {
      for (int t = 0; t < T; ++t) acc[i][t] = Rows::fma(dot[i][t], x.scale[t * x.scales + b], acc[i][t]);
      ++block[i];
    }
  }
  for (int i = 0; i < R; ++i) {
    const int row_tile = i * Rows::kTiles * apart;
    const typename Rows::Float row_scale = Rows::load_floats(w.row_scales(tile + row_tile), apart_rows);
    for (int t = 0; t < T; ++t)
      Rows::store(y + t * ldy + row_tile * kTileRows, apart_rows, Rows::mul(acc[i][t], row_scale));
  }
}

struct Q4Product : OffsetProduct<-8> {
  template <class Rows, int R, int T>
  static void run(const Matrix& w, int tile, int apart, const Tokens& x, const int32_t* start, float* y, int64_t ldy) {
    multiply_q4s_tiles<Rows, R, T>(w, tile, apart, x, start, y, ldy);
  }
};

}  // namespace
}  // namespace qwen3cpu::vnni
