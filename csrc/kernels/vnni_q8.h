// q8 weights times int8 activations by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// A group's sums start at -128 * (sum of the activations), which corrects the offset of the weights.
#pragma once

#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

// acc[i][t] = fma(float(dot), scale_w * scale_x, acc[i][t]) for group g of the matrix, which is group `in_block` of its
// blocks.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_group(const Q8Block* const (&block)[R], int64_t apart, int in_block, int g, const Tokens& x,
                               const int32_t* start, int groups, typename Rows::Float (&acc)[R][T]) {
  const int8_t* q = x.q + int64_t{g} * kGroup;
  typename Rows::Int sum[R][T];
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t)
    for (int i = 0; i < R; ++i) sum[i][t] = Rows::set1(start[t * groups + g]);
#pragma GCC unroll 8
  for (int quad = 0; quad < 8; ++quad) {
    typename Rows::Int w[R];
    for (int i = 0; i < R; ++i) {
      if (quad % 2 == 0) prefetch<Rows, 2560, _MM_HINT_T1>(block[i]->q[in_block][quad], apart);
      w[i] = Rows::load(block[i]->q[in_block][quad], apart);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      for (int i = 0; i < R; ++i) sum[i][t] = Rows::add_products(sum[i][t], w[i], q + t * x.stride + 4 * quad);
  }
  for (int i = 0; i < R; ++i) {
    const typename Rows::Float scale = Rows::scales_q8(block[i]->scale[in_block], apart);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      acc[i][t] = Rows::fma(sum[i][t], Rows::mul(scale, x.scale[t * x.scales + g]), acc[i][t]);
  }
}

// R registers of row tiles, tile `tile` first and `apart` tiles from each other.
template <class Rows, int R, int T>
__attribute__((noinline)) void multiply_q8_tiles(const Matrix& w, int tile, int apart, const Tokens& x,
                                                 const int32_t* start, float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  const int64_t apart_bytes = apart * tile_bytes(Format::q8, w.cols), apart_rows = int64_t{apart} * kTileRows;
  const Q8Block* block[R];
  typename Rows::Float acc[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Q8Block*>(w.tile(tile + i * Rows::kTiles * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = Rows::zero();
  }
  for (int first = 0; first < groups; first += Q8Block::kGroups) {
    const int left = groups - first, here = left < Q8Block::kGroups ? left : Q8Block::kGroups;
    for (int i = 0; i < R; ++i) prefetch<Rows, 2560, _MM_HINT_T1>(block[i]->scale, apart_bytes);
#pragma GCC unroll 1
    for (int g = 0; g < here; ++g) add_group<Rows, R, T>(block, apart_bytes, g, first + g, x, start, groups, acc);
    for (int i = 0; i < R; ++i) ++block[i];
  }
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) Rows::store(y + t * ldy + i * Rows::kTiles * apart_rows, apart_rows, acc[i][t]);
}

struct Q8Product : OffsetProduct<-128> {
  template <class Rows, int R, int T>
  static void run(const Matrix& w, int tile, int apart, const Tokens& x, const int32_t* start, float* y, int64_t ldy) {
    multiply_q8_tiles<Rows, R, T>(w, tile, apart, x, start, y, ldy);
  }
};

}  // namespace
}  // namespace qwen3cpu::vnni
