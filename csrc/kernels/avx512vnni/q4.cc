// q4 weights times int8 activations: two row tiles against up to 8 tokens, nibbles unpacked in registers. All sums are
// of int32: a group's is at most 32 * 15 * 127 = 60,960, a block's 8 * 127 times that, 61,935,360.
#include "simd.h"

namespace qwen3cpu::avx512vnni {
namespace {

// One or two tokens wait for memory. Two row tiles from the two halves of a piece give the prefetchers two streams (see
// avx2::kTokensOfPairs), and side by side in a register few instructions: what a core has in flight reaches further
// ahead.

// dot[t] += scale * sum of nibble * x_t over group g of two tiles, 16 rows; x: first k of the group.
template <int T>
inline __attribute__((always_inline)) void add_group_of_two(const Q4Block& a, const Q4Block& b, int g, const int8_t* x,
                                                            int stride, __m512i (&dot)[T]) {
  const __m512i low_bits = _mm512_set1_epi8(15);
  __m512i acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    if (T <= kTokensToPrefetch && v % 2 == 0) {
      prefetch(a.q[g][v][0]);
      prefetch(b.q[g][v][0]);
    }
    const __m512i two = load_two(a.q[g][v][0], b.q[g][v][0]);
    const __m512i low = _mm512_and_si512(two, low_bits);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(two, 4), low_bits);
    for (int t = 0; t < T; ++t) {
      const int8_t* xt = x + int64_t{t} * stride + 4 * v;
      acc[t] = _mm512_dpbusd_epi32(acc[t], low, broadcast4(xt));
      acc[t] = _mm512_dpbusd_epi32(acc[t], high, broadcast4(xt + 16));
    }
  }
  const __m128i low_scales = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(a.scale[g]));
  const __m128i high_scales = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b.scale[g]));
  const __m512i scale = _mm512_cvtepi8_epi32(_mm_unpacklo_epi64(low_scales, high_scales));
  for (int t = 0; t < T; ++t) dot[t] = _mm512_add_epi32(dot[t], _mm512_mullo_epi32(acc[t], scale));
}

// 8 * scale of two groups as int16 pairs, 16 rows.
inline __m512i eightfold_scales(const Q4Block& a, const Q4Block& b, int g) {
  const auto pairs = [g](const Q4Block& block) {
    const __m128i scales = load16(block.scale[g]);
    return _mm_unpacklo_epi8(scales, _mm_unpackhi_epi64(scales, scales));
  };
  return _mm512_slli_epi16(_mm512_cvtepi8_epi16(_mm256_set_m128i(pairs(b), pairs(a))), 3);
}

// acc[t] = fma(float(dot), scale_x[b], acc[t]) for block b of two tiles. What the nibbles' offset has to be corrected
// by, -8 * sum over groups of scale * (sum of x), is where dot starts from.
template <int T>
inline __attribute__((always_inline)) void multiply_two(const Q4Block& first, const Q4Block& second, int groups,
                                                        const Tokens& x, int b, __m512 (&acc)[T]) {
  const int16_t* sum = x.sum + b * Q4Block::kGroups;
  __m512i dot[T];
  for (int t = 0; t < T; ++t) dot[t] = _mm512_setzero_si512();
  for (int g = 0; g < groups; g += 2) {
    // After an odd last group comes the slack of the sums, against a scale of zero.
    const __m512i scales = eightfold_scales(first, second, g);
    for (int t = 0; t < T; ++t)
      dot[t] = _mm512_sub_epi32(dot[t], _mm512_madd_epi16(scales, broadcast4(sum + int64_t{t} * x.sums + g)));
  }
#pragma GCC unroll 1
  for (int g = 0; g < groups; ++g)
    add_group_of_two<T>(first, second, g, x.q + b * Q4Block::kCols + g * kGroup, x.stride, dot);
  for (int t = 0; t < T; ++t) {
    const __m512 scale = _mm512_set1_ps(x.scale[int64_t{t} * x.scales + b]);
    acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), scale, acc[t]);
  }
}

// y[t * ldy + r] of row tile `tile`, y[t * ldy + 8 * apart + r] of the one `apart` tiles on; 0: there is only the
// first.
template <int T>
void multiply_pair(const Matrix& w, int tile, int apart, const Tokens& x, float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup), whole = groups / Q4Block::kGroups, rest = groups % Q4Block::kGroups;
  const auto* a = reinterpret_cast<const Q4Block*>(w.tile(tile));
  const auto* b = reinterpret_cast<const Q4Block*>(w.tile(tile + apart));
  __m512 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
  for (int i = 0; i < whole; ++i) multiply_two<T>(a[i], b[i], Q4Block::kGroups, x, i, acc);
  if (rest) multiply_two<T>(a[whole], b[whole], rest, x, whole, acc);
  const __m512 row_scale = join(_mm256_loadu_ps(w.row_scales(tile)), _mm256_loadu_ps(w.row_scales(tile + apart)));
  for (int t = 0; t < T; ++t) store_rows(y + t * ldy, apart, _mm512_mul_ps(acc[t], row_scale));
}

using MultiplyPair = void(const Matrix&, int, int, const Tokens&, float*, int64_t);
MultiplyPair* const kMultiplyPair[kMaxTokens + 1] = {
    nullptr,          multiply_pair<1>, multiply_pair<2>, multiply_pair<3>, multiply_pair<4>,
    multiply_pair<5>, multiply_pair<6>, multiply_pair<7>, multiply_pair<8>,
};

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  multiply_tokens(kMultiplyPair, w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx512vnni
