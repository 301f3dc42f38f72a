// Float weights times float activations of several tokens: pairs of row tiles side by side in registers, one chain of
// fused multiply-adds per output. The body of f32.cc and bf16.cc. Internal linkage.
//
// Weights is a format: Stored, and load(p, apart) for the 8 rows of a column in one tile and in another tile, `apart`
// further on.
#pragma once

#include <immintrin.h>

#include "kernels/token_runs.h"

namespace qwen3cpu::avx512vnni {
namespace {

// Two pairs by eight tokens leave registers for the weights and an activation. Fewer tokens need more pairs to hide the
// latency of a multiply-add. Products of fewer than kLeastTokens with long rows are limited by memory, which AVX2's
// kernels read as fast.
constexpr int kPairTokens = 8, kLeastTokens = 3, kShortRow = 256;
template <int T>
constexpr int kPairs = T < kLeastTokens ? 4 : 2;

// R pairs of neighbouring tiles: y[t * ldy + 16 * i + r].
template <class Weights, int R, int T>
__attribute__((noinline)) void multiply_pairs(const typename Weights::Stored* tile, int64_t tile_stride, int cols,
                                              const float* x, int64_t stride, float* y, int64_t ldy) {
  __m512 acc[R][T];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[i][t] = _mm512_setzero_ps();
  for (int k = 0; k < cols; ++k) {
    __m512 w[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) w[i] = Weights::load(tile + 2 * i * tile_stride + int64_t{k} * kTileRows, tile_stride);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512 xt = _mm512_set1_ps(x[t * stride + k]);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) acc[i][t] = _mm512_fmadd_ps(xt, w[i], acc[i][t]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) _mm512_storeu_ps(y + t * ldy + int64_t{2} * i * kTileRows, acc[i][t]);
}

// A MatmulFn. lesser: the MatmulFn of AVX2.
template <class Weights>
inline void multiply(MatmulFn* lesser, const Matrix& w, int first_tile, int n_tiles, const Activations& x,
                     int first_token, int n_tokens, float* y, int64_t ldy) {
  using Stored = typename Weights::Stored;
  const int pairs = n_tokens < kLeastTokens && w.cols > kShortRow ? 0 : n_tiles / 2;
  if (2 * pairs < n_tiles)
    lesser(w, first_tile + 2 * pairs, n_tiles - 2 * pairs, x, first_token, n_tokens, y + 2 * pairs * kTileRows, ldy,
           nullptr);
  const auto* weights = reinterpret_cast<const Stored*>(w.tile(first_tile));
  const int64_t tile_stride = tile_bytes(w.format, w.cols) / static_cast<int64_t>(sizeof(Stored));
  for (int t = 0; pairs > 0 && t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kPairTokens));  // 9 tokens are 5 + 4, not 8 + 1
    const float* xt = x.f32 + (int64_t{first_token} + t) * x.stride;
    with_count<kPairTokens>(n, [&](auto count) {
      constexpr int T = count.value;
      for_tiles_in_a_row<kPairs<T>>(0, pairs, [&](auto many, int pair, int) {
        multiply_pairs<Weights, many.value, T>(weights + 2 * pair * tile_stride, tile_stride, w.cols, xt, x.stride,
                                               y + t * ldy + int64_t{2} * pair * kTileRows, ldy);
      });
    });
    t += n;
  }
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
