// The parts that the tile kernels of all formats share: configuration, four row tiles at a time, tiles of tokens.
// Internal linkage.
//
// `C[token][row] += sum over k of A[token][k] * B[k][row]`. A is 16 tokens of int8 activations in their memory layout.
// B is 16 weight rows as [k / 4][16 rows][4 k] signed bytes. C is int32 and exact.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/amx/kernels.h"

namespace qwen3cpu::amx {
namespace {

constexpr int kRows = 2 * kTileRows;  // weight rows of a tile: two row tiles side by side, a panel
constexpr int kTokens = 16;           // tokens of a tile
constexpr int kLeastTokens = 24;      // for fewer the AVX-512 kernels, which unpack nothing, are faster
constexpr int kPanels = 2;            // panels that share the loads of activations
constexpr int kStepRows = kPanels * kRows;
constexpr int kTokenBlock = 256;  // tokens whose sums are kept during all blocks of k: 32 KiB
constexpr int kWideInput = 4096;  // columns of which 256 tokens are half of an L2 of 2 MiB

// Keeps the compiler from moving plain loads and stores across tile loads and stores, because GCC's intrinsics do not
// tell it that they access memory. Call this between a plain store and the tile load that reads it, and after the last
// tile store.
inline void settle_memory() { asm volatile("" ::: "memory"); }

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// For products over k columns: tiles 0 to 3 hold sums, 4 and 5 activations, 6 and 7 weights. With k = 64 all are alike.
inline void configure_tiles(int k) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = static_cast<uint8_t>(tile < 6 ? kTokens : k / 4);
    config.row_bytes[tile] = static_cast<uint16_t>(tile == 4 || tile == 5 ? k : 4 * kRows);
  }
  settle_memory();  // GCC's _tile_loadconfig declares only 8 of the 64 bytes
  _tile_loadconfig(&config);
}

inline int min(int a, int b) { return a < b ? a : b; }

inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }

// 32 bytes of two row tiles side by side: 16 rows of one k-quad. The second may be absent.
inline __m512i load_two(const uint8_t* a, const uint8_t* b) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
  const __m256i high = b ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)) : _mm256_setzero_si256();
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

struct Tokens {
  const int8_t* q;
  const float* scale;
  const int16_t* sum;
  int stride, scales;
};

// Four row tiles, of which the first n_tiles exist.
struct Rows {
  const Matrix& w;
  int tile, n_tiles;

  // Block `block` of row tile i, or null.
  template <class Block>
  const Block* block(int i, int block) const {
    return i < n_tiles ? reinterpret_cast<const Block*>(w.tile(tile + i)) + block : nullptr;
  }
  // Stores their outputs of one token.
  void store(__m512 rows0, __m512 rows1, float* y) const {
    if (n_tiles == 2 * kPanels) {
      _mm512_storeu_ps(y, rows0);
      _mm512_storeu_ps(y + kRows, rows1);
      return;
    }
    _mm256_storeu_ps(y, _mm512_castps512_ps256(rows0));
    if (n_tiles > 1) _mm256_storeu_ps(y + kTileRows, _mm512_extractf32x8_ps(rows0, 1));
    if (n_tiles > 2) _mm256_storeu_ps(y + 2 * kTileRows, _mm512_castps512_ps256(rows1));
  }
};

// The first token of a tile, among n tokens, 16 or more. The last tile reaches back over tokens of the previous tile,
// which are computed twice.
inline int first_token_of(int token_tile, int n) { return min(token_tile * kTokens, n - kTokens); }

// y = acc * row_scale of n tokens, whose tiles lie one after another in acc.
inline void store_scaled(const Rows& rows, const float (*acc)[kStepRows], int n, float* y, int64_t ldy) {
  __m512 scales[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    alignas(64) float of_rows[kRows] = {};
    for (int i = 2 * p; i < min(2 * p + 2, rows.n_tiles); ++i)
      std::memcpy(of_rows + i % 2 * kTileRows, rows.w.row_scales(rows.tile + i), sizeof(float) * kTileRows);
    scales[p] = _mm512_load_ps(of_rows);
  }
  for (int i = 0; i < ceil_div(n, kTokens); ++i)
    for (int t = 0; t < kTokens; ++t, ++acc)
      rows.store(_mm512_mul_ps(_mm512_load_ps(*acc), scales[0]), _mm512_mul_ps(_mm512_load_ps(*acc + kRows), scales[1]),
                 y + (first_token_of(i, n) + t) * ldy);
}

// A MatmulFn of products over k columns, for at least 16 tokens. For four row tiles and 16 to kTokenBlock tokens at a
// time, it calls `multiply_rows(rows, tokens, first token, number of tokens, y of both, ldy, scratch)`.
template <class Scratch>
inline void multiply(int k, void (*multiply_rows)(const Rows&, const Tokens&, int, int, float*, int64_t, Scratch&),
                     const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                     float* y, int64_t ldy, uint8_t* scratch) {
  const Tokens tokens = {x.q, x.scale, x.sum, x.stride, x.scales};
  configure_tiles(k);
  for (int i = 0; i < n_tiles; i += 2 * kPanels) {
    const Rows rows = {w, first_tile + i, min(2 * kPanels, n_tiles - i)};
    for (int t = 0; t < n_tokens;) {
      const int left = n_tokens - t;  // fewer than kTokens at the end would not fill a tile
      const int n = left <= kTokenBlock ? left : min(kTokenBlock, left - kTokens);
      multiply_rows(rows, tokens, first_token + t, n, y + t * ldy + i * kTileRows, ldy,
                    *reinterpret_cast<Scratch*>(scratch));
      t += n;
    }
  }
  _tile_release();
}

// A product of 256 tokens walks its inputs, weights and outputs faster than the hardware prefetchers follow. Without
// the three functions below, products take half as long again. always_inline: GCC drops calls of functions that only
// prefetch.
inline __attribute__((always_inline)) void fetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

// Prefetches the share of step `step` of `steps` in `blocks` blocks from `first` on. After the last block come the
// first blocks of the next rows.
template <class Block>
inline __attribute__((always_inline)) void fetch_weights(const Rows& rows, int first, int blocks, int step, int steps) {
  const int lines = blocks * static_cast<int>(sizeof(Block)) / kCacheLine;
  const int past = first - ceil_div(rows.w.cols, Block::kCols);
  const uint8_t* from = rows.w.tile(past < 0 ? rows.tile : rows.tile + 2 * kPanels) +
                        (past < 0 ? first : past) * static_cast<int64_t>(sizeof(Block));
  const int64_t tile = rows.w.tile(rows.tile + 1) - rows.w.tile(rows.tile);
  const int share = ceil_div(2 * kPanels * lines, steps), end = min((step + 1) * share, 2 * kPanels * lines);
  for (int i = step * share; i < end; ++i) fetch(from + i / lines * tile + i % lines * kCacheLine);
}

// Prefetches one block of a tile of tokens. Inputs of few columns are in L2 anyway.
inline __attribute__((always_inline)) void fetch_tokens(const int8_t* x, int stride, int cols) {
  if (stride <= kWideInput) return;
  for (int t = 0; t < kTokens; ++t, x += stride)
    for (int k = 0; k < cols; k += kCacheLine) fetch(x + k);
}

// Prefetches the share of step `step` of `steps` in the outputs of a tile of tokens.
inline __attribute__((always_inline)) void fetch_outputs(const float* y, int64_t ldy, int step, int steps) {
  for (int t = step * kTokens / steps; t < (step + 1) * kTokens / steps; ++t) {
    fetch(y + t * ldy);
    fetch(y + t * ldy + kRows);
  }
}

}  // namespace
}  // namespace qwen3cpu::amx
