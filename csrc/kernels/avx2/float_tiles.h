// Float weights times float activations: R row tiles against T tokens, one chain of fused multiply-adds per output.
// f32.cc and bf16.cc differ in how 8 weights are loaded.
#pragma once

#include "simd.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kMaxTokens = 6;  // 2 x 6 chains, two weight registers and one activation fill the 16 registers

// y[t * ldy + 8 * i + r] for row tiles i in [0, R). Weights::load(tile, k) gives the 8 rows of column k.
template <class Weights, int R, int T>
void multiply_tiles(const typename Weights::Stored* tile, int64_t tile_stride, int cols, const float* x, int64_t stride,
                    float* y, int64_t ldy) {
  __m256 acc[R][T];
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  for (int k = 0; k < cols; ++k) {
    __m256 w[R];
    for (int i = 0; i < R; ++i) w[i] = Weights::load(tile + i * tile_stride, k);
    if (T == 1 && k % Weights::kColsPerLine == 0)
      for (int i = 0; i < R; ++i) prefetch(tile + i * tile_stride + k * kTileRows, 1024);
    for (int t = 0; t < T; ++t) {
      const __m256 xt = _mm256_set1_ps(x[t * stride + k]);
      for (int i = 0; i < R; ++i) acc[i][t] = _mm256_fmadd_ps(w[i], xt, acc[i][t]);
    }
  }
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy + i * kTileRows, acc[i][t]);
}

template <class Weights, int R>
void multiply_tokens(const typename Weights::Stored* tile, int64_t tile_stride, int cols, const float* x,
                     int64_t stride, int n_tokens, float* y, int64_t ldy) {
  switch (n_tokens) {
    case 1:
      return multiply_tiles<Weights, R, 1>(tile, tile_stride, cols, x, stride, y, ldy);
    case 2:
      return multiply_tiles<Weights, R, 2>(tile, tile_stride, cols, x, stride, y, ldy);
    case 3:
      return multiply_tiles<Weights, R, 3>(tile, tile_stride, cols, x, stride, y, ldy);
    case 4:
      return multiply_tiles<Weights, R, 4>(tile, tile_stride, cols, x, stride, y, ldy);
    case 5:
      return multiply_tiles<Weights, R, 5>(tile, tile_stride, cols, x, stride, y, ldy);
    default:
      return multiply_tiles<Weights, R, kMaxTokens>(tile, tile_stride, cols, x, stride, y, ldy);
  }
}

template <class Weights>
void multiply_float(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                    float* y, int64_t ldy) {
  const auto* weights = reinterpret_cast<const typename Weights::Stored*>(w.tile(first_tile));
  const int64_t tile_stride = tile_bytes(w.format, w.cols) / static_cast<int64_t>(sizeof(*weights));
  for (int t = 0; t < n_tokens; t += kMaxTokens) {
    const int n = n_tokens - t < kMaxTokens ? n_tokens - t : kMaxTokens;
    const float* input = x.f32 + (int64_t{first_token} + t) * x.stride;
    float* out = y + t * ldy;
    int tile = 0;
    if (n == 1) {  // a chain has a latency of 4 cycles: several tiles keep both multipliers busy
      for (; tile + 4 <= n_tiles; tile += 4)
        multiply_tiles<Weights, 4, 1>(weights + tile * tile_stride, tile_stride, w.cols, input, x.stride,
                                      out + tile * kTileRows, ldy);
    }
    for (; tile + 2 <= n_tiles; tile += 2)
      multiply_tokens<Weights, 2>(weights + tile * tile_stride, tile_stride, w.cols, input, x.stride, n,
                                  out + tile * kTileRows, ldy);
    if (tile < n_tiles)
      multiply_tokens<Weights, 1>(weights + tile * tile_stride, tile_stride, w.cols, input, x.stride, n,
                                  out + tile * kTileRows, ldy);
  }
}

}  // namespace
}  // namespace qwen3cpu::avx2
