// q8 weights times int8 activations: row tiles against up to 8 tokens, in int16 x int16 products.
//
// One instruction each turns the even and the odd bytes of the weights into int16. The activations are sorted the same
// way in advance, and maddwd adds in int32. `|dot| <= 32 * 255 * 127 = 1,036,320`, so nothing can overflow. maddubs
// would saturate (`2 * 255 * 127 > 32,767`), and splitting the weights into nibbles or moving signs costs as much as
// this.
#include "kernels/avx2/simd.h"
#include "kernels/token_runs.h"

namespace qwen3cpu::avx2 {
namespace {

constexpr int kMaxTokens = 8;
constexpr int kPrefetch = 1536;  // bytes ahead

// One token's activations of one group as the kernel reads them.
struct Group {
  int16_t even[16];  // k = 0, 2, 4, ...
  int16_t odd[16];   // k = 1, 3, 5, ...
  int32_t start;     // -128 * sum: corrects the offset of the weights
  float scale;
};

// [tokens][groups]
void prepare(const Tokens& x, int tokens, int groups, Group* out) {
  for (int t = 0; t < tokens; ++t)
    for (int g = 0; g < groups; ++g, ++out) {
      const __m256i bytes = load(x.q + t * x.stride + g * kGroup);
      store(out->even, _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8));
      store(out->odd, _mm256_srai_epi16(bytes, 8));
      out->start = -128 * x.sum[t * x.sums + g];
      out->scale = x.scale[t * x.scales + g];
    }
}

// n groups of a block of R row tiles against T tokens; x: [T][groups].
template <int T, int R>
QWEN3CPU_INLINE void multiply_groups(const Q8Block* const (&block)[R], int n, const Group* x, int groups,
                                     __m256 (&acc)[R][T]) {
  const __m256i low_byte = _mm256_set1_epi16(0xff);
  for (int g = 0; g < n; ++g) {
    __m256i dot[R][T];
    for (int i = 0; i < R; ++i)
      for (int t = 0; t < T; ++t) dot[i][t] = _mm256_set1_epi32(x[int64_t{t} * groups + g].start);
    for (int quad = 0; quad < 8; ++quad) {
      __m256i even[R], odd[R];
      for (int i = 0; i < R; ++i) {
        const __m256i bytes = load(block[i]->q[g][quad]);
        if (quad % 2 == 0) prefetch(block[i]->q[g][quad], kPrefetch);
        even[i] = _mm256_and_si256(bytes, low_byte);
        odd[i] = _mm256_srli_epi16(bytes, 8);
      }
      for (int t = 0; t < T; ++t) {
        const Group& xt = x[int64_t{t} * groups + g];
        const __m256i x_even = broadcast4(xt.even + 2 * quad), x_odd = broadcast4(xt.odd + 2 * quad);
        for (int i = 0; i < R; ++i) {
          dot[i][t] = _mm256_add_epi32(dot[i][t], _mm256_madd_epi16(even[i], x_even));
          pin(dot[i][t]);
          dot[i][t] = _mm256_add_epi32(dot[i][t], _mm256_madd_epi16(odd[i], x_odd));
          pin(dot[i][t]);
        }
      }
    }
    for (int i = 0; i < R; ++i) {
      const __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block[i]->scale[g])));
      for (int t = 0; t < T; ++t) {
        const __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(x[int64_t{t} * groups + g].scale));
        acc[i][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i][t]), both, acc[i][t]);
      }
    }
  }
}

// R row tiles that lie `apart` tiles from each other against T tokens: y[t * ldy + 8 * apart * i + r].
template <int T, int R>
__attribute__((noinline)) void multiply_q8_tiles(const Matrix& w, int tile, int apart, const Group* x, float* y,
                                                 int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  const Q8Block* block[R];
  __m256 acc[R][T];
  for (int i = 0; i < R; ++i) {
    block[i] = reinterpret_cast<const Q8Block*>(w.tile(tile + i * apart));
    for (int t = 0; t < T; ++t) acc[i][t] = _mm256_setzero_ps();
  }
  int g = 0;
  for (; g + Q8Block::kGroups <= groups; g += Q8Block::kGroups) {
    multiply_groups<T, R>(block, Q8Block::kGroups, x + g, groups, acc);
    for (int i = 0; i < R; ++i) ++block[i];
  }
  if (g < groups) multiply_groups<T, R>(block, groups - g, x + g, groups, acc);
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t) _mm256_storeu_ps(y + t * ldy + i * apart * kTileRows, acc[i][t]);
}

}  // namespace

void q8::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t* scratch) {
  const int groups = ceil_div(w.cols, kGroup);
  auto* prepared = reinterpret_cast<Group*>(scratch);  // [8][groups]
  static_assert(kMaxTokens * sizeof(Group) <= 32 * kGroup, "matmul_scratch_bytes holds 32 bytes per column");
  for_token_runs<kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    constexpr int T = count.value;
    prepare(tokens, T, groups, prepared);
    for_tiles_side_by_side<tiles_side_by_side(T)>(first_tile, n_tiles, [&](auto n, int tile, int apart) {
      multiply_q8_tiles<T, n.value>(w, tile, apart, prepared, to + (tile - first_tile) * kTileRows, ldy);
    });
  });
}

}  // namespace qwen3cpu::avx2
