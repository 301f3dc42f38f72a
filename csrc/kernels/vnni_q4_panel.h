// q4 weights times int8 activations of many tokens by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// A block of 256 k of some row tiles is unpacked once, into bytes n * s (at most 225), and multiplied with all tokens.
// One sum runs over the whole block then, A = sum(n * s * x). What it lacks is the same for every k of a group, and
// takes the sums of the activations, two groups in a VPDPWSSD:
//
//   dot = 8 * A + sum over the groups of s * (3 (z - 7) - 64) * (sum of x)
//
// |8 * A| <= 8 * 256 * 225 * 127 = 58,521,600, the rest is at most 8 * 1,275 * 4,064 = 41,452,800: int32 holds it.
//
// pin() in these loops: without it GCC 12 keeps more values at a time than there are registers.
#pragma once

#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

constexpr int kPanelTokens = 256;  // whose results are kept while the blocks of k pass: 32 KiB for 4 row tiles
constexpr int kPanelPairs = Q4Block::kGroups / 2;

// By z: 3 (z - 7) - 64.
alignas(16) constexpr int8_t kPlaces[16] = {-85, -82, -79, -76, -73, -70, -67, -64,
                                            -61, -58, -55, -52, -49, -46, -43, -40};

// A block of R registers of row tiles, ready to be multiplied: 8.5 KiB for 4 row tiles.
template <class Rows, int R>
struct Panel {
  typename Rows::Int w[Q4Block::kCols / 4][R];
  typename Rows::Int place[kPanelPairs][R];  // s * (3 (z - 7) - 64) of two groups
};

// Unpacks group g, and fetches what lies `ahead` bytes behind it: the block that comes next, when all tokens have met
// this one.
template <class Rows>
QWEN3CPU_INLINE void unpack_group(const Q4Block& block, int64_t apart, int64_t ahead, int g, typename Rows::Int s,
                                  typename Rows::Int* w, int registers) {
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    if (v % 2 == 0) prefetch<Rows, 0, _MM_HINT_T0>(block.q[g][v][0] + ahead, apart);
    const typename Rows::Int two = Rows::load(block.q[g][v], apart);
    w[(8 * g + v) * registers] = Rows::times(Rows::low_nibbles(two), s);
    w[(8 * g + 4 + v) * registers] = Rows::times(Rows::high_nibbles(two), s);
  }
}

template <class Rows, int R>
__attribute__((noinline)) void unpack(const Q4Block* const (&block)[R], int64_t apart, int64_t ahead, int groups,
                                      Panel<Rows, R>& panel) {
  using Int = typename Rows::Int;
  for (int i = 0; i < R; ++i) {
    Int step[Q4Block::kGroups];
#pragma GCC unroll 4
    for (int p = 0; p < kPanelPairs; ++p) {
      const Int scales = Rows::scales_q4(block[i]->scale[2 * p], apart), s = Rows::low_parts(scales);
      panel.place[p][i] = Rows::times_placed(s, scales, kPlaces);
      step[2 * p] = Rows::twice_lower(s);
      step[2 * p + 1] = Rows::twice_upper(s);
    }
#pragma GCC unroll 1
    for (int g = 0; g < groups; ++g) unpack_group<Rows>(*block[i], apart, ahead, g, step[g], panel.w[0] + i, R);
  }
}

// sum[t][i] += the panel's products with four k of every token, from x on.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_panel_quad(const typename Rows::Int (&weights)[R], const int8_t* x, int64_t stride,
                                    typename Rows::Int (&sum)[T][R]) {
  typename Rows::Int w[R];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    w[i] = weights[i];
    Rows::pin(w[i]);
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    typename Rows::Int quad = Rows::set1(four_bytes(x + t * stride));
    Rows::pin(quad);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      sum[t][i] = Rows::add_products(sum[t][i], w[i], quad);
      Rows::pin(sum[t][i]);
    }
  }
}

// sum[t][i] += place * (sum of the activations) over two groups, whose sums begin at `sum_x`.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_places(const typename Rows::Int (&places)[R], const int16_t* sum_x, int64_t sums,
                                typename Rows::Int (&sum)[T][R]) {
  typename Rows::Int place[R];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) place[i] = places[i];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    typename Rows::Int two = Rows::set1(four_bytes(sum_x + t * sums));
    Rows::pin(two);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      sum[t][i] = Rows::add_halves(sum[t][i], two, place[i]);
      Rows::pin(sum[t][i]);
    }
  }
}

// acc[t][i] = fma(float(dot), scale_x[b], acc[t][i]) for block b of so many groups and T tokens.
template <class Rows, int R, int T>
__attribute__((noinline)) void multiply_panel(const Panel<Rows, R>& panel, int groups, const Tokens& x, int b,
                                              typename Rows::Float* acc) {
  const int64_t stride = x.stride, sums = x.sums;
  const int8_t* q = x.q + int64_t{b} * Q4Block::kCols;
  const int16_t* sum_x = x.sum + int64_t{b} * Q4Block::kGroups;
  typename Rows::Int sum[T][R];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) sum[t][i] = Rows::set1(0);
#pragma GCC unroll 1
  for (int quad = 0; quad < kGroup / 4 * groups; quad += 2, q += 8) {
    add_panel_quad<Rows>(panel.w[quad], q, stride, sum);
    add_panel_quad<Rows>(panel.w[quad + 1], q + 4, stride, sum);
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) sum[t][i] = Rows::eightfold(sum[t][i]);
  // After an odd last group comes what lies behind the sums, against a step of zero.
#pragma GCC unroll 1
  for (int p = 0; 2 * p < groups; ++p) add_places<Rows>(panel.place[p], sum_x + 2 * p, sums, sum);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) acc[t * R + i] = Rows::fma(sum[t][i], x.scale[t * x.scales + b], acc[t * R + i]);
}

template <class Rows, int R>
struct alignas(64) PanelScratch {
  Panel<Rows, R> panel;
  typename Rows::Float acc[kPanelTokens][R];
};

// R registers of row tiles, one tile after the other from `tile` on, against up to kPanelTokens tokens. The last
// register has one tile where `apart` is 0, and two that are 1 apart otherwise.
template <class Rows, int R>
void multiply_q4_rows(const Matrix& w, int tile, int apart, const Activations& x, int first_token, int n_tokens,
                      float* y, int64_t ldy, PanelScratch<Rows, R>& scratch) {
  static_assert(sizeof(scratch) <= matmul_scratch_bytes(1));
  constexpr int64_t row_floats = int64_t{R} * Rows::kTiles * kTileRows;
  const int groups = ceil_div(w.cols, kGroup);
  const int64_t apart_bytes = apart * tile_bytes(Format::q4, w.cols), apart_rows = int64_t{apart} * kTileRows;
  const Q4Block* block[R];
  for (int i = 0; i < R; ++i) block[i] = reinterpret_cast<const Q4Block*>(w.tile(tile + i * Rows::kTiles));
  std::memset(scratch.acc, 0, sizeof(scratch.acc[0]) * static_cast<size_t>(n_tokens));
  for (int b = 0; b * Q4Block::kGroups < groups; ++b) {
    const int left = groups - b * Q4Block::kGroups, here = left < Q4Block::kGroups ? left : Q4Block::kGroups;
    // Behind the last block come the first ones of the rows behind these.
    const int64_t to_next_rows = R * Rows::kTiles * tile_bytes(Format::q4, w.cols) - b * int64_t{sizeof(Q4Block)};
    unpack<Rows>(block, apart_bytes, left > here ? int64_t{sizeof(Q4Block)} : to_next_rows, here, scratch.panel);
    for_token_runs<Rows::kPanelRun>(x, first_token, n_tokens, reinterpret_cast<float*>(scratch.acc), row_floats,
                                    [&](auto count, const Tokens& tokens, float* acc) {
                                      multiply_panel<Rows, R, count.value>(
                                          scratch.panel, here, tokens, b, reinterpret_cast<typename Rows::Float*>(acc));
                                    });
    for (int i = 0; i < R; ++i) ++block[i];
  }
  for (int i = 0; i < R; ++i) {
    const int row_tile = i * Rows::kTiles;
    const typename Rows::Float row_scale = Rows::load_floats(w.row_scales(tile + row_tile), apart_rows);
    for (int t = 0; t < n_tokens; ++t)
      Rows::store(y + t * ldy + row_tile * kTileRows, apart_rows, Rows::mul(scratch.acc[t][i], row_scale));
  }
}

// A MatmulFn.
template <class Rows>
void multiply_q4_panels(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token,
                        int n_tokens, float* y, int64_t ldy, uint8_t* scratch) {
  for (int t = 0; t < n_tokens; t += kPanelTokens) {
    const int left = n_tokens - t, n = left < kPanelTokens ? left : kPanelTokens;
    for_tiles_in_a_row<Rows::kPanelRegisters * Rows::kTiles>(first_tile, n_tiles, [&](auto tiles, int tile, int) {
      constexpr int R = ceil_div(tiles.value, Rows::kTiles);
      multiply_q4_rows<Rows, R>(w, tile, tiles.value > 1 ? 1 : 0, x, first_token + t, n,
                                y + t * ldy + (tile - first_tile) * kTileRows, ldy,
                                *reinterpret_cast<PanelScratch<Rows, R>*>(scratch));
    });
  }
}

}  // namespace
}  // namespace qwen3cpu::vnni
