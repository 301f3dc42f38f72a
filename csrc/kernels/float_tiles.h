// Float weights times float activations: R row tiles against T tokens, one chain of fused multiply-adds per output. The
// body of f32.cc and bf16.cc of AVX2 and NEON. Internal linkage.
//
// Weights is a format of an ISA: Stored, load(rows) for the 8 rows of a column, and Simd with
//   Vector, Factor       eight floats; what a scalar factor becomes
//   all(x), store(p, v), factor(x), fma(factor, v, acc), prefetch(p, bytes)
//   kFloatTokens         tokens that a call takes at most
//   kFloatTiles<T>       row tiles that it takes with T tokens; few tokens need more tiles to hide the latency of FMA
//   kFloatAhead          bytes by which weights are prefetched for few tokens
//   for_tiles<kMost>(n_tiles, body)   calls body(Count<n>, tile, apart) until every row tile has been in a call
#pragma once

#include "kernels/token_runs.h"

namespace qwen3cpu::float_tiles {
namespace {

// R row tiles that lie `apart` tiles from each other: y[t * ldy + 8 * apart * i + r].
template <class Weights, int R, int T>
__attribute__((noinline)) void multiply_tiles(const typename Weights::Stored* tile, int64_t tile_stride, int apart,
                                              int cols, const float* x, int64_t stride, float* y, int64_t ldy) {
  using Simd = typename Weights::Simd;
  constexpr int kColsPerLine = kCacheLine / kTileRows / static_cast<int>(sizeof(typename Weights::Stored));
  tile_stride *= apart;
  typename Simd::Vector acc[R][T];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[i][t] = Simd::all(0.0f);
  for (int k = 0; k < cols; ++k) {
    typename Simd::Vector w[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) w[i] = Weights::load(tile + i * tile_stride + int64_t{k} * kTileRows);
    if (T <= 2 && k % kColsPerLine == 0)
      for (int i = 0; i < R; ++i) Simd::prefetch(tile + i * tile_stride + int64_t{k} * kTileRows, Simd::kFloatAhead);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const typename Simd::Factor xt = Simd::factor(x[t * stride + k]);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) acc[i][t] = Simd::fma(xt, w[i], acc[i][t]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) Simd::store(y + t * ldy + int64_t{i} * apart * kTileRows, acc[i][t]);
}

// A MatmulFn.
template <class Weights>
inline void multiply(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                     float* y, int64_t ldy) {
  using Simd = typename Weights::Simd;
  using Stored = typename Weights::Stored;
  const auto* weights = reinterpret_cast<const Stored*>(w.tile(first_tile));
  const int64_t tile_stride = tile_bytes(w.format, w.cols) / static_cast<int64_t>(sizeof(Stored));
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, Simd::kFloatTokens));  // 8 tokens are 4 + 4, not 6 + 2
    const float* xt = x.f32 + (int64_t{first_token} + t) * x.stride;
    with_count<Simd::kFloatTokens>(n, [&](auto count) {
      constexpr int T = count.value;
      Simd::template for_tiles<Simd::template kFloatTiles<T>>(n_tiles, [&](auto tiles, int tile, int apart) {
        multiply_tiles<Weights, tiles.value, T>(weights + tile * tile_stride, tile_stride, apart, w.cols, xt, x.stride,
                                                y + t * ldy + tile * kTileRows, ldy);
      });
    });
    t += n;
  }
}

}  // namespace
}  // namespace qwen3cpu::float_tiles
