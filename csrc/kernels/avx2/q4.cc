// q4 weights times int8 activations: one row tile against up to 8 tokens, nibbles unpacked in registers.
//
// No int16 saturates or wraps: maddubs adds two products of a nibble (0..15) and an activation (|x| <= 127), at most
// 2 * 15 * 127 = 3,810 in magnitude, and a lane adds 8 of them, at most 30,480. The -8 of the nibbles comes from the
// activation sums, two groups per widening multiply: 8 * scale fits int16 (1,016), and so do the sums (4,064).
#include "simd.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kMaxTokens = 8;
constexpr int kPrefetch = 1024;  // bytes ahead, in tiles of so few tokens that memory may be what they wait for:
constexpr int kTokensToPrefetch = 4;

struct Tokens {
  const int8_t* q;  // [T][stride]
  const float* scale;
  const int16_t* sum;
  int stride, scales, sums;
};

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
inline void start_block(const Q4Block& block, int groups, const int16_t* sum, int sums, __m256i (&dot)[T]) {
  for (int t = 0; t < T; ++t) dot[t] = _mm256_setzero_si256();
  for (int g = 0; g < groups; g += 2) {
    const __m256i eight_scales = _mm256_srai_epi16(shuffle_scales(block.scale[g], kScaleShuffle[2]), 5);
    for (int t = 0; t < T; ++t) {
      // After an odd last group comes the slack of the sums, against a scale of zero.
      const __m256i two_sums = broadcast4(sum + int64_t{t} * sums + g);
      dot[t] = _mm256_sub_epi32(dot[t], _mm256_madd_epi16(eight_scales, two_sums));
    }
  }
}

// dot[t] += scale * (sum of nibble * x_t over one group); x: first k of the group.
template <int T>
inline __attribute__((always_inline)) void add_group(const uint8_t* nibbles, __m256i scale, const int8_t* x, int stride,
                                                     __m256i (&dot)[T]) {
  const __m256i low_bits = _mm256_set1_epi8(15);
  __m256i acc[T];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const __m256i two = load(nibbles + 32 * v);
    const __m256i low = _mm256_and_si256(two, low_bits);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m256i product = _mm256_maddubs_epi16(low, broadcast4(x + int64_t{t} * stride + 4 * v));
      acc[t] = v == 0 ? product : _mm256_add_epi16(acc[t], product);
      pin(acc[t]);
    }
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(two, 4), low_bits);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      acc[t] = _mm256_add_epi16(acc[t], _mm256_maddubs_epi16(high, broadcast4(x + int64_t{t} * stride + 16 + 4 * v)));
      pin(acc[t]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) dot[t] = _mm256_add_epi32(dot[t], _mm256_madd_epi16(acc[t], scale));
}

// acc[t] = fma(float(dot), scale_x[b], acc[t]) for block b.
template <int T>
inline __attribute__((always_inline)) void multiply_block(const Q4Block& block, int groups, const Tokens& x, int b,
                                                          __m256 (&acc)[T]) {
  const int8_t* q = x.q + b * Q4Block::kCols;
  __m256i dot[T];
  start_block<T>(block, groups, x.sum + b * Q4Block::kGroups, x.sums, dot);
#pragma GCC unroll 1
  for (int g = 0; g < groups; ++g) {
    const uint8_t* nibbles = block.q[g][0][0];
    if (T <= kTokensToPrefetch) {
      prefetch(nibbles, kPrefetch);
      prefetch(nibbles + kCacheLine, kPrefetch);
    }
    const __m256i scale = _mm256_srai_epi16(shuffle_scales(block.scale[g & ~1], kScaleShuffle[g & 1]), 8);
    add_group<T>(nibbles, scale, q + g * kGroup, x.stride, dot);
  }
  for (int t = 0; t < T; ++t) {
    const __m256 scale = _mm256_set1_ps(x.scale[int64_t{t} * x.scales + b]);
    acc[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[t]), scale, acc[t]);
  }
}

// R row tiles that lie `apart` tiles from each other against T tokens: y[t * ldy + 8 * apart * i + r].
template <int T, int R>
void multiply_tiles(const Matrix& w, int tile, int apart, const Tokens& x, float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup), whole = groups / Q4Block::kGroups, rest = groups % Q4Block::kGroups;
  const Q4Block* blocks[R];
  __m256 acc[R][T];
  for (int i = 0; i < R; ++i) {
    blocks[i] = reinterpret_cast<const Q4Block*>(w.tile(tile + i * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  }
#pragma GCC unroll 1
  for (int b = 0; b < whole; ++b)
#pragma GCC unroll 2
    for (int i = 0; i < R; ++i) multiply_block<T>(blocks[i][b], Q4Block::kGroups, x, b, acc[i]);
  if (rest)
    for (int i = 0; i < R; ++i) multiply_block<T>(blocks[i][whole], rest, x, whole, acc[i]);
  for (int i = 0; i < R; ++i) {
    const __m256 row_scale = _mm256_loadu_ps(w.row_scales(tile + i * apart));
    for (int t = 0; t < T; ++t)
      _mm256_storeu_ps(y + t * ldy + i * apart * kTileRows, _mm256_mul_ps(acc[i][t], row_scale));
  }
}

using MultiplyTiles = void(const Matrix&, int, int, const Tokens&, float*, int64_t);
MultiplyTiles* const kMultiplyTile[kMaxTokens + 1] = {
    nullptr,
    multiply_tiles<1, 1>,
    multiply_tiles<2, 1>,
    multiply_tiles<3, 1>,
    multiply_tiles<4, 1>,
    multiply_tiles<5, 1>,
    multiply_tiles<6, 1>,
    multiply_tiles<7, 1>,
    multiply_tiles<8, 1>,
};
MultiplyTiles* const kMultiplyPair[kTokensOfPairs + 1] = {nullptr, multiply_tiles<1, 2>, multiply_tiles<2, 2>};

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  // Tokens outside, tiles inside: 8 tokens' activations stay in L1 while the piece's tiles come from L2.
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kMaxTokens));  // 9 tokens are 5 + 4, not 8 + 1
    const int64_t token = first_token + t;
    const int sums = x.stride / kGroup;
    const Tokens tokens = {
        x.q + token * x.stride, x.scale + token * x.scales, x.sum + token * sums, x.stride, x.scales, sums};
    const int pairs = n <= kTokensOfPairs ? n_tiles / 2 : 0;
    for (int tile = 0; tile < pairs; ++tile)
      kMultiplyPair[n](w, first_tile + tile, pairs, tokens, y + t * ldy + tile * kTileRows, ldy);
    for (int tile = 2 * pairs; tile < n_tiles; ++tile)
      kMultiplyTile[n](w, first_tile + tile, 0, tokens, y + t * ldy + tile * kTileRows, ldy);
    t += n;
  }
}

}  // namespace qwen3cpu::avx2
