// q4a weights times int8 activations: nibbles as in q4_tiles.h, a group's sums widened by a factor of one and then
// scaled as floats.
#include "kernels/avx2/q4_tiles.h"
#include "kernels/q4a_sums.h"

namespace qwen3cpu::avx2 {
namespace {

// part[i][t] = what block b of R row tiles adds before the scale of the activations; here: groups of 32 that it has.
template <int G, int T, int R>
QWEN3CPU_INLINE void multiply_block(const Q4aBlock<G>* const (&block)[R], int here, const Tokens& x, int b,
                                    const float* sums, int groups, __m256 (&part)[R][T]) {
  constexpr int parts = G / kGroup;
  const __m256i one = _mm256_set1_epi16(1);
  const int8_t* q = x.q + int64_t{b} * Q4aBlock<G>::kCols;
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) part[i][t] = _mm256_setzero_ps();
  for (int g = 0; g * parts < here; ++g)
    for (int i = 0; i < R; ++i) {
      const __m256 minimum = _mm256_loadu_ps(block[i]->minimum[g]);
      for (int t = 0; t < T; ++t)
        part[i][t] = _mm256_fmadd_ps(_mm256_set1_ps(sums[t * groups + g]), minimum, part[i][t]);
    }
#pragma GCC unroll 1
  for (int g = 0; g * parts < here; ++g) {
    const int end = (g + 1) * parts < here ? (g + 1) * parts : here;
    __m256i dot[R][T];
    for (int i = 0; i < R; ++i)
      for (int t = 0; t < T; ++t) dot[i][t] = _mm256_setzero_si256();
#pragma GCC unroll 1
    for (int k = g * parts; k < end; ++k)
      add_group<Q4aBlock<G>, T, R>(block, k, q + k * kGroup, x.stride, [&](int) { return one; }, dot);
    for (int i = 0; i < R; ++i) {
      const __m256 scale = _mm256_loadu_ps(block[i]->scale[g]);
      for (int t = 0; t < T; ++t) part[i][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i][t]), scale, part[i][t]);
    }
  }
}

// R row tiles that lie `apart` tiles from each other against T tokens: y[t * ldy + 8 * apart * i + r].
template <int G, int T, int R>
__attribute__((noinline)) void multiply_q4a_tiles(const Matrix& w, int tile, int apart, const Tokens& x,
                                                  const float* sums, float* y, int64_t ldy) {
  const int in_all = ceil_div(w.cols, kGroup), groups = ceil_div(w.cols, G);
  const Q4aBlock<G>* block[R];
  __m256 acc[R][T], part[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Q4aBlock<G>*>(w.tile(tile + i * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  }
  for (int b = 0; b * kBlockGroups < in_all; ++b) {
    const int left = in_all - b * kBlockGroups, here = left < kBlockGroups ? left : kBlockGroups;
    multiply_block<G, T, R>(block, here, x, b, sums + b * Q4aBlock<G>::kGroups, groups, part);
    for (int i = 0; i < R; ++i) {
      for (int t = 0; t < T; ++t)
        acc[i][t] = _mm256_fmadd_ps(part[i][t], _mm256_set1_ps(x.scale[t * x.scales + b]), acc[i][t]);
      ++block[i];
    }
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
