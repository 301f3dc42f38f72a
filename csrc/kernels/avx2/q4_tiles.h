// q4 and q4s weights times int8 activations: row tiles against up to 8 tokens, nibbles unpacked in registers. Internal
// linkage.
//
// No int16 saturates or wraps. maddubs adds two products of a nibble (0..15) and an activation (|x| <= 127), at most
// `2 * 15 * 127 = 3,810` in magnitude. A lane adds 8 of them, at most 30,480. The widening multiplication that adds the
// halves of a lane takes a factor in int16.
//
// A format defines the factor, and the first values of a block's sums. These correct the offset of the nibbles with the
// sums of the activations (at most 4,064), two groups per widening multiplication.
#pragma once

#include "kernels/avx2/simd.h"
#include "kernels/token_runs.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kMaxTokens = 8;
constexpr int kPrefetch = 1536;  // bytes ahead
constexpr int kBlockGroups = Q4Block::kGroups;
static_assert(Q4sBlock::kGroups == kBlockGroups);

// dot[i][t] += factor(i) * (sum of nibble * x_t over group g) for R row tiles; x: first k of the group.
template <class Block, int T, int R, class Factor>
QWEN3CPU_INLINE void add_group(const Block* const (&block)[R], int g, const int8_t* x, int64_t stride, Factor factor,
                               __m256i (&dot)[R][T]) {
  const __m256i low_bits = _mm256_set1_epi8(15);
  __m256i acc[R][T];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    __m256i two[R], low[R];
    for (int i = 0; i < R; ++i) {
      two[i] = load(block[i]->q[g][v][0]);
      if (v % 2 == 0) prefetch(block[i]->q[g][v][0], kPrefetch);
      low[i] = _mm256_and_si256(two[i], low_bits);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m256i quad = broadcast4(x + t * stride + 4 * v);
      for (int i = 0; i < R; ++i) {
        const __m256i product = _mm256_maddubs_epi16(low[i], quad);
        acc[i][t] = v == 0 ? product : _mm256_add_epi16(acc[i][t], product);
        pin(acc[i][t]);
      }
    }
    __m256i high[R];
    for (int i = 0; i < R; ++i) high[i] = _mm256_and_si256(_mm256_srli_epi16(two[i], 4), low_bits);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m256i quad = broadcast4(x + t * stride + 16 + 4 * v);
      for (int i = 0; i < R; ++i) {
        acc[i][t] = _mm256_add_epi16(acc[i][t], _mm256_maddubs_epi16(high[i], quad));
        pin(acc[i][t]);
      }
    }
  }
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) dot[i][t] = _mm256_add_epi32(dot[i][t], _mm256_madd_epi16(acc[i][t], factor(i)));
  }
}

// acc[i][t] = fma(float(dot), scale_x[b], acc[i][t]) for block b of R row tiles.
template <class Format, int T, int R>
QWEN3CPU_INLINE void multiply_block(const typename Format::Block* const (&block)[R], int groups, const Tokens& x, int b,
                                    __m256 (&acc)[R][T]) {
  using Block = typename Format::Block;
  const int8_t* q = x.q + b * Block::kCols;
  __m256i factor[R][kBlockGroups], dot[R][T];
  for (int i = 0; i < R; ++i)
    Format::template start_block<T>(*block[i], groups, x.sum + b * kBlockGroups, x.sums, factor[i], dot[i]);
#pragma GCC unroll 1
  for (int g = 0; g < groups; ++g)
    add_group<Block, T, R>(block, g, q + g * kGroup, x.stride, [&](int i) { return factor[i][g]; }, dot);
  for (int t = 0; t < T; ++t) {
    const __m256 scale = _mm256_set1_ps(x.scale[t * x.scales + b]);
    for (int i = 0; i < R; ++i) acc[i][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i][t]), scale, acc[i][t]);
  }
}

// R row tiles that lie `apart` tiles from each other against T tokens: y[t * ldy + 8 * apart * i + r].
template <class Format, int T, int R>
__attribute__((noinline)) void multiply_q4_tiles(const Matrix& w, int tile, int apart, const Tokens& x, float* y,
                                                 int64_t ldy) {
  using Block = typename Format::Block;
  const int groups = ceil_div(w.cols, kGroup), whole = groups / kBlockGroups, rest = groups % kBlockGroups;
  const Block* block[R];
  __m256 acc[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Block*>(w.tile(tile + i * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  }
  for (int b = 0; b < whole; ++b) {
    multiply_block<Format, T, R>(block, kBlockGroups, x, b, acc);
    for (int i = 0; i < R; ++i) ++block[i];
  }
  if (rest) multiply_block<Format, T, R>(block, rest, x, whole, acc);
  for (int i = 0; i < R; ++i) {
    const __m256 row_scale = _mm256_loadu_ps(w.row_scales(tile + i * apart));
    for (int t = 0; t < T; ++t)
      _mm256_storeu_ps(y + t * ldy + i * apart * kTileRows, _mm256_mul_ps(acc[i][t], row_scale));
  }
}

// A MatmulFn of a format.
template <class Format>
void multiply_q4(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy) {
  for_token_runs<kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    constexpr int T = count.value;
    for_tiles_side_by_side<tiles_side_by_side(T)>(first_tile, n_tiles, [&](auto n, int tile, int apart) {
      multiply_q4_tiles<Format, T, n.value>(w, tile, apart, tokens, to + (tile - first_tile) * kTileRows, ldy);
    });
  });
}

}  // namespace
}  // namespace qwen3cpu::avx2
