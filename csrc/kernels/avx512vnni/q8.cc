// q8 weights times int8 activations: one row tile against up to 8 tokens. The dot products sum in int32, where
// 32 * 255 * 127 = 1,036,320 fits easily.
#include "simd.h"

namespace qwen3cpu::avx512vnni {
namespace {

struct Tokens {
  const int8_t* q;  // [T][stride]
  const float* scale;
  const int16_t* sum;
  int stride, scales, sums;
};

// Groups [first, first + n) of the columns, which are a block's.
template <int T>
inline __attribute__((always_inline)) void multiply_groups(const Q8Block& block, int n, const Tokens& x, int first,
                                                           __m256 (&acc)[T]) {
  if (T <= kTokensToPrefetch) prefetch(block.scale);
  for (int g = 0; g < n; ++g) {
    const uint8_t* weights = block.q[g][0][0];
    if (T <= kTokensToPrefetch)
      for (int line = 0; line < 4; ++line) prefetch(weights + line * kCacheLine);
    const __m512i q01 = load(weights), q23 = load(weights + 64), q45 = load(weights + 128), q67 = load(weights + 192);
    const __m256 scale_w = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scale[g])));
    for (int t = 0; t < T; ++t) {
      const __m512i group = load_group(x.q + int64_t{t} * x.stride + (first + g) * kGroup);
      __m512i dot = start_first_half(-128 * x.sum[int64_t{t} * x.sums + first + g]);
      dot = _mm512_dpbusd_epi32(dot, q01, spread<0>(group));
      dot = _mm512_dpbusd_epi32(dot, q23, spread<2>(group));
      dot = _mm512_dpbusd_epi32(dot, q45, spread<4>(group));
      dot = _mm512_dpbusd_epi32(dot, q67, spread<6>(group));
      const __m256 scale = _mm256_mul_ps(scale_w, _mm256_set1_ps(x.scale[int64_t{t} * x.scales + first + g]));
      acc[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(add_halves(dot)), scale, acc[t]);
    }
  }
}

template <int T>
void multiply_tile(const uint8_t* tile, int groups, const Tokens& x, float* y, int64_t ldy) {
  const auto* block = reinterpret_cast<const Q8Block*>(tile);
  __m256 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm256_setzero_ps();
  int g = 0;
  for (; g + Q8Block::kGroups <= groups; g += Q8Block::kGroups)
    multiply_groups<T>(*block++, Q8Block::kGroups, x, g, acc);
  if (g < groups) multiply_groups<T>(*block, groups - g, x, g, acc);
  for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy, acc[t]);
}

using MultiplyTile = void(const uint8_t*, int, const Tokens&, float*, int64_t);
MultiplyTile* const kMultiplyTile[kMaxTokens + 1] = {nullptr,          multiply_tile<1>, multiply_tile<2>,
                                                     multiply_tile<3>, multiply_tile<4>, multiply_tile<5>,
                                                     multiply_tile<6>, multiply_tile<7>, multiply_tile<8>};

}  // namespace

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kFewTokens) {
    avx2::q8::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  const int groups = ceil_div(w.cols, kGroup), sums = x.stride / kGroup;
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t;
    const int n = ceil_div(left, ceil_div(left, kMaxTokens));  // 9 tokens are 5 + 4, not 8 + 1
    const int64_t token = first_token + t;
    const Tokens tokens = {
        x.q + token * x.stride, x.scale + token * x.scales, x.sum + token * sums, x.stride, x.scales, sums};
    for (int tile = 0; tile < n_tiles; ++tile)
      kMultiplyTile[n](w.tile(first_tile + tile), groups, tokens, y + t * ldy + tile * kTileRows, ldy);
    t += n;
  }
}

}  // namespace qwen3cpu::avx512vnni
