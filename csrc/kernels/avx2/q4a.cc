// q4a weights times int8 activations. Nibbles are multiplied as in q4_tiles.h. The sums of 32 are widened with a factor
// of one and then scaled as floats.
#include "kernels/avx2/q4_tiles.h"
#include "kernels/q4a_sums.h"

namespace qwen3cpu::avx2 {
namespace {

// Adds group g of a block of R row tiles to acc.
//   n           groups of 32 in it
//   q, scale_x  the activations of the first of these, and their scales
//   sums        [tokens][groups in all], from this group on
template <int G, int T, int R>
QWEN3CPU_INLINE void add_scaled_group(const Q4aBlock<G>* const (&block)[R], int g, int n, const Tokens& x,
                                      const int8_t* q, const float* scale_x, const float* sums, int groups,
                                      __m256 (&acc)[R][T]) {
  const __m256i one = _mm256_set1_epi16(1);
  __m256 products[R][T];
  for (int i = 0; i < R; ++i) {
    const __m256 minimum = _mm256_loadu_ps(block[i]->minimum[g]);
    for (int t = 0; t < T; ++t) {
      acc[i][t] = _mm256_fmadd_ps(_mm256_set1_ps(sums[t * groups]), minimum, acc[i][t]);
      products[i][t] = _mm256_setzero_ps();
    }
  }
#pragma GCC unroll 1
  for (int k = 0; k < n; ++k) {
    __m256i dot[R][T];
    for (int i = 0; i < R; ++i)
      for (int t = 0; t < T; ++t) dot[i][t] = _mm256_setzero_si256();
    add_group<Q4aBlock<G>, T, R>(block, g * (G / kGroup) + k, q + k * kGroup, x.stride, [&](int) { return one; }, dot);
    for (int t = 0; t < T; ++t) {
      const __m256 scale = _mm256_set1_ps(scale_x[t * x.scales + k]);
      for (int i = 0; i < R; ++i)
        products[i][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i][t]), scale, products[i][t]);
    }
  }
  for (int i = 0; i < R; ++i) {
    const __m256 scale = _mm256_loadu_ps(block[i]->scale[g]);
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_fmadd_ps(products[i][t], scale, acc[i][t]);
  }
}

// R row tiles that lie `apart` tiles from each other against T tokens: y[t * ldy + 8 * apart * i + r].
template <int G, int T, int R>
__attribute__((noinline)) void multiply_q4a_tiles(const Matrix& w, int tile, int apart, const Tokens& x,
                                                  const float* sums, float* y, int64_t ldy) {
  using Block = Q4aBlock<G>;
  constexpr int parts = G / kGroup;
  const int in_all = ceil_div(w.cols, kGroup), groups = ceil_div(w.cols, G);
  const Block* block[R];
  __m256 acc[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Block*>(w.tile(tile + i * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  }
  for (int g = 0; g < groups; ++g) {
    const int first = g * parts, n = in_all - first < parts ? in_all - first : parts;
    add_scaled_group<G, T, R>(block, g % Block::kGroups, n, x, x.q + int64_t{first} * kGroup, x.scale + first, sums + g,
                              groups, acc);
    if (g % Block::kGroups == Block::kGroups - 1)
      for (int i = 0; i < R; ++i) ++block[i];
  }
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy + i * apart * kTileRows, acc[i][t]);
}

// A MatmulFn for groups of G.
template <int G>
void multiply_q4a(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                  float* y, int64_t ldy, uint8_t* scratch) {
  static_assert(kMaxTokens <= kMostRun);
  for_token_runs<kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    constexpr int T = count.value;
    const float* sums = sums_of_groups<G>(tokens, T, w.cols, scratch);
    for_tiles_side_by_side<tiles_side_by_side(T)>(first_tile, n_tiles, [&](auto n, int tile, int apart) {
      multiply_q4a_tiles<G, T, n.value>(w, tile, apart, tokens, sums, to + (tile - first_tile) * kTileRows, ldy);
    });
  });
}

}  // namespace

#define QWEN3CPU_MULTIPLY(G) multiply_q4a<G>
#include "kernels/q4a_sizes.inc"

}  // namespace qwen3cpu::avx2
