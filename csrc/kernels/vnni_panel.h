// The products of quantised weights with many tokens by VPDPBUSD, for a variant's rows (vnni.h). Internal linkage.
//
// A block of 256 k of some row tiles is unpacked once, into a panel that stays in L1. All tokens are then multiplied by
// it. A format is a class Panel<Rows, R>: a block of R registers of row tiles, ready to be multiplied, with
//   kFormat                                 the format of the weights
//   kRun                                    tokens that share the loads of weights
//   unpack(block, apart, ahead, groups)     from R pointers to blocks; a register's second tile lies `apart` bytes
//                                           from the first. Prefetches the block `ahead` bytes further on.
//   multiply<T>(groups, x, b, acc)          acc[t][i] += the products of block b, which has `groups` groups, with T
//                                           tokens
//   RowScale(w, tile, apart)                turns the sums of a register of rows into results
#pragma once

#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

constexpr int kPanelTokens = 256;  // tokens whose sums are kept during all blocks of k: 32 KiB for 4 row tiles
constexpr int kPanelCols = 256, kPanelGroups = kPanelCols / kGroup;

// sum[t][i] += products of number `quad` of a panel's k-quads with four k of every token, from x on.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_panel_quad(const typename Rows::Int (&panel)[kPanelCols / 4][R], int quad, const int8_t* x,
                                    int64_t stride, typename Rows::Int (&sum)[T][R]) {
  typename Rows::Int w[R];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    w[i] = panel[quad][i];
    Rows::pin(w[i]);
  }
  add_quad<Rows>(w, x, stride, sum);
}

template <class Rows, template <class, int> class Panel, int R>
struct alignas(64) PanelScratch {
  Panel<Rows, R> panel;
  typename Rows::Float acc[kPanelTokens][R];
};

// R registers of row tiles, one tile after the other from `tile` on, against up to kPanelTokens tokens. The last
// register has one tile where `apart` is 0, and two that are 1 apart otherwise. Results are stored after each run of
// tokens, while the next run is multiplied.
template <class Rows, template <class, int> class Panel, int R>
void multiply_rows(const Matrix& w, int tile, int apart, const Activations& x, int first_token, int n_tokens, float* y,
                   int64_t ldy, PanelScratch<Rows, Panel, R>& scratch) {
  using Float = typename Rows::Float;
  using Product = Panel<Rows, R>;
  static_assert(sizeof(scratch) <= matmul_scratch_bytes(1));
  constexpr int64_t row_floats = int64_t{R} * Rows::kTiles * kTileRows;
  constexpr int64_t block_bytes = tile_bytes(Product::kFormat, kPanelCols);
  const int groups = ceil_div(w.cols, kGroup);
  const int64_t tile_size = tile_bytes(Product::kFormat, w.cols);
  const int64_t apart_bytes = apart * tile_size, apart_rows = int64_t{apart} * kTileRows;
  const uint8_t* block[R];
  for (int i = 0; i < R; ++i) block[i] = w.tile(tile + i * Rows::kTiles);
  auto* const sums = reinterpret_cast<float*>(scratch.acc);
  for (int b = 0; b * kPanelGroups < groups; ++b) {
    const int left = groups - b * kPanelGroups, here = left < kPanelGroups ? left : kPanelGroups;
    const bool last = left == here;
    // After the last block come the first blocks of the next rows.
    const int64_t ahead = last ? R * Rows::kTiles * tile_size - b * block_bytes : block_bytes;
    scratch.panel.unpack(block, apart_bytes, ahead, here);
    for_token_runs<Product::kRun>(
        x, first_token, n_tokens, sums, row_floats, [&](auto count, const Tokens& tokens, float* of_run) {
          constexpr int T = count.value;
          auto* acc = reinterpret_cast<Float*>(of_run);
          if (b == 0)
            for (int j = 0; j < T * R; ++j) acc[j] = Rows::zero();
          scratch.panel.template multiply<T>(here, tokens, b, acc);
          if (!last) return;
          float* to = y + (of_run - sums) / row_floats * ldy;
          for (int i = 0; i < R; ++i) {
            const typename Product::RowScale scale(w, tile + i * Rows::kTiles, apart_rows);
            for (int t = 0; t < T; ++t)
              Rows::store(to + t * ldy + i * Rows::kTiles * kTileRows, apart_rows, scale(acc[t * R + i]));
          }
        });
    for (int i = 0; i < R; ++i) block[i] += block_bytes;
  }
}

// A MatmulFn.
template <class Rows, template <class, int> class Panel>
void multiply_panels(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                     float* y, int64_t ldy, uint8_t* scratch) {
  for (int t = 0; t < n_tokens; t += kPanelTokens) {
    const int left = n_tokens - t, n = left < kPanelTokens ? left : kPanelTokens;
    for_tiles_in_a_row<Rows::kPanelRegisters * Rows::kTiles>(first_tile, n_tiles, [&](auto tiles, int tile, int) {
      constexpr int R = ceil_div(tiles.value, Rows::kTiles);
      multiply_rows<Rows, Panel, R>(w, tile, tiles.value > 1 ? 1 : 0, x, first_token + t, n,
                                    y + t * ldy + (tile - first_tile) * kTileRows, ldy,
                                    *reinterpret_cast<PanelScratch<Rows, Panel, R>*>(scratch));
    });
  }
}

}  // namespace
}  // namespace qwen3cpu::vnni
