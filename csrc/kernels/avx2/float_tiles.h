// Float weights times float activations: R row tiles against T tokens, one chain of fused multiply-adds per output.
// f32.cc and bf16.cc differ in how 8 weights are loaded.
#pragma once

#include "kernels/avx2/simd.h"
#include "kernels/token_runs.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kMaxTokens = 6;  // 2 x 6 chains, two weight registers and one activation fill the 16 registers

// R row tiles that lie `apart` tiles from each other: y[t * ldy + 8 * apart * i + r]. Weights::load(tile, k) gives the
// 8 rows of column k.
template <class Weights, int R, int T>
void multiply_tiles(const typename Weights::Stored* tile, int64_t tile_stride, int apart, int cols, const float* x,
                    int64_t stride, float* y, int64_t ldy) {
  tile_stride *= apart;
  __m256 acc[R][T];
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  for (int k = 0; k < cols; ++k) {
    __m256 w[R];
    for (int i = 0; i < R; ++i) w[i] = Weights::load(tile + i * tile_stride, k);
    if (T <= 2 && k % Weights::kColsPerLine == 0)
      for (int i = 0; i < R; ++i) prefetch(tile + i * tile_stride + k * kTileRows, 2048);
    for (int t = 0; t < T; ++t) {
      const __m256 xt = _mm256_set1_ps(x[t * stride + k]);
      for (int i = 0; i < R; ++i) acc[i][t] = _mm256_fmadd_ps(w[i], xt, acc[i][t]);
    }
  }
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy + i * apart * kTileRows, acc[i][t]);
}

template <class Weights>
void multiply_float(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                    float* y, int64_t ldy) {
  using Stored = typename Weights::Stored;
  const auto* weights = reinterpret_cast<const Stored*>(w.tile(first_tile));
  const int64_t tile_stride = tile_bytes(w.format, w.cols) / static_cast<int64_t>(sizeof(Stored));
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kMaxTokens));  // 8 tokens are 4 + 4, not 6 + 2
    const float* xt = x.f32 + (int64_t{first_token} + t) * x.stride;
    with_count<kMaxTokens>(n, [&](auto count) {
      constexpr int T = count.value;
      // A chain has a latency of 4 cycles at two a cycle: few tokens need more tiles at a time.
      for_tiles_side_by_side<T <= 3 ? 4 : 2>(0, n_tiles, [&](auto tiles, int tile, int apart) {
        multiply_tiles<Weights, tiles.value, T>(weights + tile * tile_stride, tile_stride, apart, w.cols, xt, x.stride,
                                                y + t * ldy + tile * kTileRows, ldy);
      });
    });
    t += n;
  }
}

}  // namespace
}  // namespace qwen3cpu::avx2
