// q8 weights times int8 activations by VPDPBUSD: one row tile against up to 8 tokens.
//
// A group's sums start at -128 * (sum of the activations), which takes the offset of the weights off.
#include "simd.h"

namespace qwen3cpu::avxvnni {
namespace {

// acc[t] = fma(float(dot), scale_w * scale_x, acc[t]) for group g of the matrix, which is `in_block` in its block.
template <int T>
QWEN3CPU_INLINE void add_group(const Q8Block& block, int in_block, int g, const Tokens& x, const int32_t* start,
                               int groups, __m256 (&acc)[T]) {
  const int8_t* q = x.q + int64_t{g} * kGroup;
  __m256i sum[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) sum[t] = _mm256_set1_epi32(start[t * groups + g]);
#pragma GCC unroll 8
  for (int quad = 0; quad < 8; ++quad) {
    if (T <= kTokensToPrefetch && quad % 2 == 0) prefetch(block.q[in_block][quad]);
    const __m256i w = load(block.q[in_block][quad]);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[t] = add_products(sum[t], w, q + t * x.stride + 4 * quad);
  }
  const __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scale[in_block])));
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
    acc[t] = add_scaled(acc[t], sum[t], _mm256_mul_ps(scale, _mm256_set1_ps(x.scale[t * x.scales + g])));
}

template <int T>
void multiply_tile(const uint8_t* tile, int groups, const Tokens& x, const int32_t* start, float* y, int64_t ldy) {
  const auto* blocks = reinterpret_cast<const Q8Block*>(tile);
  __m256 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm256_setzero_ps();
#pragma GCC unroll 1
  for (int g = 0; g < groups; ++g)
    add_group<T>(blocks[g / Q8Block::kGroups], g % Q8Block::kGroups, g, x, start, groups, acc);
  for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy, acc[t]);
}

}  // namespace

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  const int groups = ceil_div(w.cols, kGroup);
  const auto* start = reinterpret_cast<const int32_t*>(scratch);
  for_token_runs<kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    start_sums(tokens, count.value, groups, -128, scratch);
    for (int i = 0; i < n_tiles; ++i)
      multiply_tile<count.value>(w.tile(first_tile + i), groups, tokens, start, to + i * kTileRows, ldy);
  });
}

}  // namespace qwen3cpu::avxvnni
