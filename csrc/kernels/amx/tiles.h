// The tile registers: configuration and the loop over token tiles that both formats share. Internal linkage.
//
// C[token][row] += sum over k of A[token][k] * B[k][row]: A is 16 tokens of int8 activations as they lie in memory, B
// is 16 weight rows as [k / 4][16 rows][4 k] unsigned bytes, C is int32 and exact.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels.h"

namespace qwen3cpu::amx {
namespace {

constexpr int kRows = 2 * kTileRows;  // weight rows of a tile: two row tiles side by side
constexpr int kTokens = 16;           // tokens of a tile
constexpr int kFewTokens = 10;        // below this the AVX-512 kernels are done before tiles can be filled

// GCC's tile loads and stores do not tell the compiler that they touch memory. This keeps plain loads and stores on
// their side of them: to be called before the first tile load of what was written and after the last tile store.
inline void settle_memory() { asm volatile("" ::: "memory"); }

// Tiles 0-3 hold sums, 4 and 5 two token tiles, 6 and 7 weights.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// The configuration in force: two token tiles with n0 and n1 tokens (0..16), k columns a step.
class TileShape {
 public:
  void configure(int n0, int n1, int k) {
    if (n0 == n0_ && n1 == n1_) return;
    n0_ = n0;
    n1_ = n1;
    TileConfig config;
    for (int tile = 0; tile < 4; ++tile) set(config, tile, tile < 2 ? n0 : n1, 4 * kRows);
    set(config, 4, n0, k);
    set(config, 5, n1, k);
    for (int tile = 6; tile < 8; ++tile) set(config, tile, k / 4, 4 * kRows);
    settle_memory();  // GCC's _tile_loadconfig tells the compiler of 8 of the 64 bytes
    _tile_loadconfig(&config);
  }

 private:
  static void set(TileConfig& config, int tile, int rows, int bytes) {
    if (rows == 0) return;
    config.rows[tile] = static_cast<uint8_t>(rows);
    config.row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
  int n0_ = -1;
  int n1_ = -1;
};

constexpr int kTokenBlock = 256;  // tokens whose sums are kept while the blocks of k pass: 16 KiB

inline int min(int a, int b) { return a < b ? a : b; }

inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }

// 32 bytes of two row tiles side by side: 16 rows of one k-quad. The second may be absent.
inline __m512i load_two(const uint8_t* a, const uint8_t* b) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
  const __m256i high = b ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)) : _mm256_setzero_si256();
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Writes the 16 rows of one token, or the 8 rows that exist.
inline void store_rows(float* y, __m512 rows, bool two) {
  if (two)
    _mm512_storeu_ps(y, rows);
  else
    _mm256_storeu_ps(y, _mm512_castps512_ps256(rows));
}

// Calls multiply_rows(row tile, there is a second, first token, tokens, y of both) for pairs of row tiles and up to
// kTokenBlock tokens.
template <class MultiplyRows>
inline void for_each_panel(int first_tile, int n_tiles, int first_token, int n_tokens, float* y, int64_t ldy,
                           MultiplyRows multiply_rows) {
  for (int tile = 0; tile < n_tiles; tile += 2)
    for (int t = 0; t < n_tokens; t += kTokenBlock)
      multiply_rows(first_tile + tile, tile + 1 < n_tiles, first_token + t, min(kTokenBlock, n_tokens - t),
                    y + t * ldy + tile * kTileRows);
  _tile_release();
}

}  // namespace
}  // namespace qwen3cpu::amx
