// q8 weights times int8 activations: two row tiles against up to 8 tokens. The sums of a group are int32, at most
// 32 * 255 * 127 = 1,036,320.
#include "simd.h"

namespace qwen3cpu::avx512vnni {
namespace {

// acc[t] = fma(float(dot), scale_w * scale_x, acc[t]) over groups [first, first + n) of the columns, two tiles, 16
// rows.
template <int T>
inline __attribute__((always_inline)) void multiply_two(const Q8Block& a, const Q8Block& b, int n, const Tokens& x,
                                                        int first, __m512 (&acc)[T]) {
  for (int g = 0; g < n; ++g) {
    __m512i dot[T];
    for (int t = 0; t < T; ++t) dot[t] = _mm512_set1_epi32(-128 * x.sum[int64_t{t} * x.sums + first + g]);
    for (int quad = 0; quad < 8; ++quad) {
      if (T <= kTokensToPrefetch && quad % 2 == 0) {
        prefetch(a.q[g][quad]);
        prefetch(b.q[g][quad]);
      }
      const __m512i two = load_two(a.q[g][quad], b.q[g][quad]);
      for (int t = 0; t < T; ++t)
        dot[t] =
            _mm512_dpbusd_epi32(dot[t], two, broadcast4(x.q + int64_t{t} * x.stride + (first + g) * kGroup + 4 * quad));
    }
    const __m512 scale_w = _mm512_cvtph_ps(_mm256_set_m128i(load16(b.scale[g]), load16(a.scale[g])));
    for (int t = 0; t < T; ++t) {
      const __m512 scale = _mm512_mul_ps(scale_w, _mm512_set1_ps(x.scale[int64_t{t} * x.scales + first + g]));
      acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), scale, acc[t]);
    }
  }
}

// y[t * ldy + r] of row tile `tile`, y[t * ldy + 8 * apart + r] of the one `apart` tiles on; 0: there is only the
// first.
template <int T>
void multiply_pair(const Matrix& w, int tile, int apart, const Tokens& x, float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  const auto* a = reinterpret_cast<const Q8Block*>(w.tile(tile));
  const auto* b = reinterpret_cast<const Q8Block*>(w.tile(tile + apart));
  __m512 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
  int g = 0;
  for (; g + Q8Block::kGroups <= groups; g += Q8Block::kGroups)
    multiply_two<T>(*a++, *b++, Q8Block::kGroups, x, g, acc);
  if (g < groups) multiply_two<T>(*a, *b, groups - g, x, g, acc);
  for (int t = 0; t < T; ++t) store_rows(y + t * ldy, apart, acc[t]);
}

using MultiplyPair = void(const Matrix&, int, int, const Tokens&, float*, int64_t);
MultiplyPair* const kMultiplyPair[kMaxTokens + 1] = {
    nullptr,          multiply_pair<1>, multiply_pair<2>, multiply_pair<3>, multiply_pair<4>,
    multiply_pair<5>, multiply_pair<6>, multiply_pair<7>, multiply_pair<8>,
};

}  // namespace

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  multiply_tokens(kMultiplyPair, w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx512vnni
