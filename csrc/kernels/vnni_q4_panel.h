// q4 weights times int8 activations of many tokens by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// A block of 256 k of some row tiles is unpacked once, with the steps multiplied in (vnni_q4_steps.h). All tokens are
// then multiplied by it.
#pragma once

#include "kernels/vnni_q4_steps.h"

namespace qwen3cpu::vnni {
namespace {

constexpr int kPanelTokens = 256;  // tokens whose results are kept during all blocks of k: 32 KiB for 4 row tiles

// A block of R registers of row tiles, ready to be multiplied: 8.5 KiB for 4 row tiles.
template <class Rows, int R>
struct Panel {
  typename Rows::Int w[Q4Block::kCols / 4][R];
  Steps<Rows, R> steps;
};

// Unpacks group g, and prefetches the same group of the next block, `ahead` bytes further on.
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
  panel.steps.read(block, apart);
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 1
    for (int g = 0; g < groups; ++g)
      unpack_group<Rows>(*block[i], apart, ahead, g, panel.steps.step[g][i], panel.w[0] + i, R);
}

// acc[t][i] = fma(float(dot), scale_x[b], acc[t][i]) for block b, which has `groups` groups, and T tokens.
template <class Rows, int R, int T>
__attribute__((noinline)) void multiply_panel(const Panel<Rows, R>& panel, int groups, const Tokens& x, int b,
                                              typename Rows::Float* acc) {
  const int64_t stride = x.stride;
  const int8_t* q = x.q + int64_t{b} * Q4Block::kCols;
  typename Rows::Int sum[T][R];
  clear<Rows>(sum);
#pragma GCC unroll 1
  for (int quad = 0; quad < kGroup / 4 * groups; quad += 2, q += 8)
#pragma GCC unroll 2
    for (int next = 0; next < 2; ++next) {
      typename Rows::Int w[R];
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        w[i] = panel.w[quad + next][i];
        Rows::pin(w[i]);
      }
      add_quad<Rows>(w, q + 4 * next, stride, sum);
    }
  finish_block<Rows>(panel.steps.place, groups, x, b, sum, acc);
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
    // After the last block come the first blocks of the next rows.
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
