// q4s weights times int8 activations: row tiles against up to 8 tokens, nibbles unpacked in registers.
//
// No int16 saturates or wraps: maddubs adds two products of a nibble (0..15) and an activation (|x| <= 127), at most
// 2 * 15 * 127 = 3,810 in magnitude, and a lane adds 8 of them, at most 30,480. The -8 of the nibbles comes from the
// activation sums, two groups per widening multiply: 8 * scale fits int16 (1,016), and so do the sums (4,064).
#include "kernels/avx2/simd.h"
#include "kernels/token_runs.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kMaxTokens = 8;
constexpr int kPrefetch = 1536;  // bytes ahead

// For pshufb on two groups' 16 scales: row r's scale into the upper byte of int16s of lane r, where a shift turns it
// into an int16. The first two take group 0 or 1 into both int16, the third takes group 0 into the lower and 1 into the
// upper.
alignas(32) constexpr int8_t kScaleShuffle[3][32] = {
    {-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7},
    {-1, 8,  -1, 8,  -1, 9,  -1, 9,  -1, 10, -1, 10, -1, 11, -1, 11,
     -1, 12, -1, 12, -1, 13, -1, 13, -1, 14, -1, 14, -1, 15, -1, 15},
    {-1, 0, -1, 8,  -1, 1, -1, 9,  -1, 2, -1, 10, -1, 3, -1, 11,
     -1, 4, -1, 12, -1, 5, -1, 13, -1, 6, -1, 14, -1, 7, -1, 15},
};

inline __m256i shuffle_scales(const int8_t* two_groups, const int8_t (&shuffle)[32]) {
  return _mm256_shuffle_epi8(broadcast16(two_groups), load(shuffle));
}

// dot[t] = -8 * sum over groups of scale * (sum of x_t): what the nibbles' offset has to be corrected by.
template <int T>
inline void start_block(const Q4sBlock& block, int groups, const int16_t* sum, int64_t sums, __m256i (&dot)[T]) {
  for (int t = 0; t < T; ++t) dot[t] = _mm256_setzero_si256();
  for (int g = 0; g < groups; g += 2) {
    const __m256i eight_scales = _mm256_srai_epi16(shuffle_scales(block.scale[g], kScaleShuffle[2]), 5);
    for (int t = 0; t < T; ++t) {
      // After an odd last group comes the slack of the sums, against a scale of zero.
      const __m256i two_sums = broadcast4(sum + t * sums + g);
      dot[t] = _mm256_sub_epi32(dot[t], _mm256_madd_epi16(eight_scales, two_sums));
    }
  }
}

// dot[i][t] += scale * (sum of nibble * x_t over group g) for R row tiles; x: first k of the group.
template <int T, int R>
QWEN3CPU_INLINE void add_group(const Q4sBlock* const (&block)[R], int g, const int8_t* x, int64_t stride,
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
    const __m256i scale = _mm256_srai_epi16(shuffle_scales(block[i]->scale[g & ~1], kScaleShuffle[g & 1]), 8);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) dot[i][t] = _mm256_add_epi32(dot[i][t], _mm256_madd_epi16(acc[i][t], scale));
  }
}

// acc[i][t] = fma(float(dot), scale_x[b], acc[i][t]) for block b of R row tiles.
template <int T, int R>
QWEN3CPU_INLINE void multiply_block(const Q4sBlock* const (&block)[R], int groups, const Tokens& x, int b,
                                    __m256 (&acc)[R][T]) {
  const int8_t* q = x.q + b * Q4sBlock::kCols;
  __m256i dot[R][T];
  for (int i = 0; i < R; ++i) start_block<T>(*block[i], groups, x.sum + b * Q4sBlock::kGroups, x.sums, dot[i]);
#pragma GCC unroll 1
  for (int g = 0; g < groups; ++g) add_group<T, R>(block, g, q + g * kGroup, x.stride, dot);
  for (int t = 0; t < T; ++t) {
    const __m256 scale = _mm256_set1_ps(x.scale[t * x.scales + b]);
    for (int i = 0; i < R; ++i) acc[i][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i][t]), scale, acc[i][t]);
  }
}

// R row tiles that lie `apart` tiles from each other against T tokens: y[t * ldy + 8 * apart * i + r].
template <int T, int R>
__attribute__((noinline)) void multiply_q4s_tiles(const Matrix& w, int tile, int apart, const Tokens& x, float* y,
                                                 int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup), whole = groups / Q4sBlock::kGroups, rest = groups % Q4sBlock::kGroups;
  const Q4sBlock* block[R];
  __m256 acc[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Q4sBlock*>(w.tile(tile + i * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  }
  for (int b = 0; b < whole; ++b) {
    multiply_block<T, R>(block, Q4sBlock::kGroups, x, b, acc);
    for (int i = 0; i < R; ++i) ++block[i];
  }
  if (rest) multiply_block<T, R>(block, rest, x, whole, acc);
  for (int i = 0; i < R; ++i) {
    const __m256 row_scale = _mm256_loadu_ps(w.row_scales(tile + i * apart));
    for (int t = 0; t < T; ++t)
      _mm256_storeu_ps(y + t * ldy + i * apart * kTileRows, _mm256_mul_ps(acc[i][t], row_scale));
  }
}

}  // namespace

void q4s::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  for_token_runs<kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    constexpr int T = count.value;
    for_tiles_side_by_side<tiles_side_by_side(T)>(first_tile, n_tiles, [&](auto n, int tile, int apart) {
      multiply_q4s_tiles<T, n.value>(w, tile, apart, tokens, to + (tile - first_tile) * kTileRows, ldy);
    });
  });
}

}  // namespace qwen3cpu::avx2
