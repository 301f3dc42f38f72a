// q4 weights times int8 activations by VPDPBUSD: one row tile against up to 8 tokens.
//
// A group's sums start at -8 * (sum of the activations), so that they end as sum((q - 8) * x), at most 32 * 8 * 127 =
// 32,512: they fit int16, and VPDPWSSD multiplies them by the group's scale.
#include "simd.h"

namespace qwen3cpu::avxvnni {
namespace {

constexpr int kFewTokens = 3;  // below this memory is what is waited for, and AVX2's pairs of tiles read it faster

// dot[t] += scale * sum((nibble - 8) * x_t) over group g of the block.
template <int T>
QWEN3CPU_INLINE void add_group(const Q4Block& block, int g, const int8_t* x, int64_t stride, const int32_t* start,
                               int groups, __m256i (&dot)[T]) {
  __m256i sum[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) sum[t] = _mm256_set1_epi32(start[t * groups]);
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    if (T <= kTokensToPrefetch && v % 2 == 0) prefetch(block.q[g][v]);
    const __m256i two = load(block.q[g][v]), low_bits = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(two, low_bits), high = _mm256_and_si256(_mm256_srli_epi16(two, 4), low_bits);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[t] = add_products(sum[t], low, x + t * stride + 4 * v);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[t] = add_products(sum[t], high, x + t * stride + 16 + 4 * v);
  }
  // The scale in the lower half of a lane, nothing in the upper one.
  const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(block.scale[g])));
  const __m256i scale = _mm256_and_si256(wide, _mm256_set1_epi32(0xffff));
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) dot[t] = _mm256_dpwssd_avx_epi32(dot[t], sum[t], scale);
}

template <int T>
void multiply_tile(const uint8_t* tile, const float* row_scales, int groups, const Tokens& x, const int32_t* start,
                   float* y, int64_t ldy) {
  const auto* blocks = reinterpret_cast<const Q4Block*>(tile);
  __m256 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm256_setzero_ps();
  for (int b = 0; b * Q4Block::kGroups < groups; ++b) {
    const int first = b * Q4Block::kGroups, left = groups - first;
    const int here = left < Q4Block::kGroups ? left : Q4Block::kGroups;
    __m256i dot[T];
    for (int t = 0; t < T; ++t) dot[t] = _mm256_setzero_si256();
#pragma GCC unroll 1
    for (int g = 0; g < here; ++g)
      add_group<T>(blocks[b], g, x.q + int64_t{first + g} * kGroup, x.stride, start + first + g, groups, dot);
    for (int t = 0; t < T; ++t) acc[t] = add_scaled(acc[t], dot[t], _mm256_set1_ps(x.scale[t * x.scales + b]));
  }
  for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy, _mm256_mul_ps(acc[t], _mm256_loadu_ps(row_scales)));
}

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  if (n_tokens < kFewTokens) {
    avx2::q4::matmul(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy, scratch);
    return;
  }
  const int groups = ceil_div(w.cols, kGroup);
  const auto* start = reinterpret_cast<const int32_t*>(scratch);
  for_token_runs<kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    start_sums(tokens, count.value, groups, -8, scratch);
    for (int i = 0; i < n_tiles; ++i)
      multiply_tile<count.value>(w.tile(first_tile + i), w.row_scales(first_tile + i), groups, tokens, start,
                                 to + i * kTileRows, ldy);
  });
}

}  // namespace qwen3cpu::avxvnni
