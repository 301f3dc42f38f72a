// Float weights times float activations: R row tiles against T tokens, one chain of fused multiply-adds per output.
// f32.cc and bf16.cc differ in how 8 weights are loaded.
#pragma once

#include "kernels/neon/simd.h"

namespace qwen3cpu::neon {
namespace {

constexpr int kMaxTokens = 6;  // 2 x 6 pairs of chains, four registers of weights and the activations fill all 32

// y[t * ldy + 8 * i + r] for row tiles i in [0, R). Weights::load(tile, k) gives the 8 rows of column k.
template <class Weights, int R, int T>
__attribute__((noinline)) void multiply_tiles(const typename Weights::Stored* tile, int64_t tile_stride, int cols,
                                              const float* x, int64_t stride, float* y, int64_t ldy) {
  F8 acc[R][T];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[i][t] = all8(0.0f);
  for (int k = 0; k < cols; ++k) {
    F8 w[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) w[i] = Weights::load(tile + i * tile_stride + int64_t{k} * kTileRows);
    if (T <= 2 && k % Weights::kColsPerLine == 0)
      for (int i = 0; i < R; ++i) prefetch(tile + i * tile_stride + int64_t{k} * kTileRows, 1024);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const float xt = x[t * stride + k];
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) acc[i][t] = fma(acc[i][t], w[i], xt);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) store8(y + t * ldy + i * kTileRows, acc[i][t]);
}

// Tiles [first, last) in steps of R; returns the first tile that is left over.
template <class Weights, int R, int T>
int multiply_steps(const typename Weights::Stored* weights, int64_t tile_stride, int first, int last, int cols,
                   const float* x, int64_t stride, float* y, int64_t ldy) {
  int tile = first;
  for (; tile + R <= last; tile += R)
    multiply_tiles<Weights, R, T>(weights + tile * tile_stride, tile_stride, cols, x, stride, y + tile * kTileRows,
                                  ldy);
  return tile;
}

// All tiles for T tokens. Few tokens need more tiles at a time to hide the latency of a multiply-add.
template <class Weights, int T>
void multiply_tokens(const typename Weights::Stored* weights, int64_t tile_stride, int n_tiles, int cols,
                     const float* x, int64_t stride, float* y, int64_t ldy) {
  int tile = 0;
  if (T <= 2) tile = multiply_steps<Weights, 4, T>(weights, tile_stride, tile, n_tiles, cols, x, stride, y, ldy);
  tile = multiply_steps<Weights, 2, T>(weights, tile_stride, tile, n_tiles, cols, x, stride, y, ldy);
  multiply_steps<Weights, 1, T>(weights, tile_stride, tile, n_tiles, cols, x, stride, y, ldy);
}

template <class Weights>
void multiply_float(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                    float* y, int64_t ldy) {
  using Stored = typename Weights::Stored;
  using MultiplyTokens = void(const Stored*, int64_t, int, int, const float*, int64_t, float*, int64_t);
  static constexpr MultiplyTokens* multiply[kMaxTokens + 1] = {nullptr,
                                                               multiply_tokens<Weights, 1>,
                                                               multiply_tokens<Weights, 2>,
                                                               multiply_tokens<Weights, 3>,
                                                               multiply_tokens<Weights, 4>,
                                                               multiply_tokens<Weights, 5>,
                                                               multiply_tokens<Weights, 6>};
  const auto* weights = reinterpret_cast<const Stored*>(w.tile(first_tile));
  const int64_t tile_stride = tile_bytes(w.format, w.cols) / static_cast<int64_t>(sizeof(Stored));
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kMaxTokens));  // 8 tokens are 4 + 4, not 6 + 2
    multiply[n](weights, tile_stride, n_tiles, w.cols, x.f32 + (int64_t{first_token} + t) * x.stride, x.stride,
                y + t * ldy, ldy);
    t += n;
  }
}

}  // namespace
}  // namespace qwen3cpu::neon
