// q4s weights times int8 activations: see q4_tiles.h.
//
// A group's factor is its scale. The offset is corrected with 8 * scale, which fits int16 (1,016).
#include "kernels/avx2/q4_tiles.h"

namespace qwen3cpu::avx2 {
namespace {

// Indices for pshufb on two groups' 16 scales. Row r's scale goes to the upper byte of the int16s of lane r, where a
// shift makes it an int16. The first two copy group 0 or 1 to both int16. The third copies group 0 to the lower int16
// and group 1 to the upper one.
alignas(32) constexpr int8_t kScaleShuffle[3][32] = {
    {-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7},
    {-1, 8,  -1, 8,  -1, 9,  -1, 9,  -1, 10, -1, 10, -1, 11, -1, 11,
     -1, 12, -1, 12, -1, 13, -1, 13, -1, 14, -1, 14, -1, 15, -1, 15},
    {-1, 0, -1, 8,  -1, 1, -1, 9,  -1, 2, -1, 10, -1, 3, -1, 11,
     -1, 4, -1, 12, -1, 5, -1, 13, -1, 6, -1, 14, -1, 7, -1, 15},
};

struct Q4sFormat {
  using Block = Q4sBlock;

  // dot[t] = -8 * sum over groups of scale * (sum of x_t), the correction of the nibbles' offset.
  template <int T>
  static QWEN3CPU_INLINE void start_block(const Block& block, int groups, const int16_t* sum, int64_t sums,
                                          __m256i (&factor)[kBlockGroups], __m256i (&dot)[T]) {
    for (__m256i& each : dot) each = _mm256_setzero_si256();
    for (int g = 0; g < groups; g += 2) {
      const __m256i scales = broadcast16(block.scale[g]);
      factor[g] = _mm256_srai_epi16(_mm256_shuffle_epi8(scales, load(kScaleShuffle[0])), 8);
      factor[g + 1] = _mm256_srai_epi16(_mm256_shuffle_epi8(scales, load(kScaleShuffle[1])), 8);
      const __m256i eight_scales = _mm256_srai_epi16(_mm256_shuffle_epi8(scales, load(kScaleShuffle[2])), 5);
      for (int t = 0; t < T; ++t) {
        // After an odd last group, a scale of zero is multiplied by the slack of the sums.
        const __m256i two_sums = broadcast4(sum + t * sums + g);
        dot[t] = _mm256_sub_epi32(dot[t], _mm256_madd_epi16(eight_scales, two_sums));
      }
    }
  }
};

}  // namespace

void q4s::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy, uint8_t*) {
  multiply_q4<Q4sFormat>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

}  // namespace qwen3cpu::avx2
