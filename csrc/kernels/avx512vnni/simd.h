// What the products of the two quantised formats share. Internal linkage.
//
// Two row tiles lie side by side in a register, 16 rows of one k-quad, so that an activation is a plain broadcast. The
// tiles come from the two halves of a piece: where memory is what is waited for, that gives the prefetchers two streams
// (see avx2::kTokensOfPairs), and few instructions for many bytes let a core look far ahead.
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace qwen3cpu::avx512vnni {
namespace {

constexpr int kMaxTokens = 8;
constexpr int kPrefetch = 1536;  // bytes ahead, with so few tokens that memory may be what they wait for:
constexpr int kTokensToPrefetch = 4;

struct Tokens {
  const int8_t* q;  // [T][stride]
  const float* scale;
  const int16_t* sum;
  int stride, scales, sums;
};

// The 4 bytes at p in every 32-bit lane.
inline __m512i broadcast4(const void* p) {
  int32_t x;
  __builtin_memcpy(&x, p, sizeof(x));
  return _mm512_set1_epi32(x);
}

// 32 bytes of two row tiles: 16 rows of one k-quad.
inline __m512i load_two(const void* a, const void* b) {
  const __m256i low = _mm256_loadu_si256(static_cast<const __m256i*>(a));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_loadu_si256(static_cast<const __m256i*>(b)), 1);
}

inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

inline __m512 join(__m256 low, __m256 high) { return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1); }

// Writes the rows of a tile and those of the tile `apart` tiles on, which is absent when apart is 0.
inline void store_rows(float* y, int apart, __m512 rows) {
  _mm256_storeu_ps(y, _mm512_castps512_ps256(rows));
  if (apart > 0) _mm256_storeu_ps(y + apart * kTileRows, _mm512_extractf32x8_ps(rows, 1));
}

// always_inline: GCC takes a function that only prefetches for one without effect and drops calls of it, silently.
inline __attribute__((always_inline)) void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p) + kPrefetch, _MM_HINT_T0);
}

// Calls multiply_pair[n](w, tile, apart, tokens, y of the tile) for all tiles of a piece and up to 8 tokens at a time.
// Tokens outside, tiles inside: 8 tokens' activations stay in L1 while the piece's tiles come from L2.
template <class MultiplyPair>
inline void multiply_tokens(MultiplyPair* const (&multiply_pair)[kMaxTokens + 1], const Matrix& w, int first_tile,
                            int n_tiles, const Activations& x, int first_token, int n_tokens, float* y, int64_t ldy) {
  const int sums = x.stride / kGroup, pairs = n_tiles / 2;
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kMaxTokens));  // 9 tokens are 5 + 4, not 8 + 1
    const int64_t token = first_token + t;
    const Tokens tokens = {
        x.q + token * x.stride, x.scale + token * x.scales, x.sum + token * sums, x.stride, x.scales, sums};
    float* to = y + t * ldy;
    for (int i = 0; i < pairs; ++i) multiply_pair[n](w, first_tile + i, pairs, tokens, to + i * kTileRows, ldy);
    if (n_tiles % 2 != 0) multiply_pair[n](w, first_tile + 2 * pairs, 0, tokens, to + 2 * pairs * kTileRows, ldy);
    t += n;
  }
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
