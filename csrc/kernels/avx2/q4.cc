// q4 weights times int8 activations: see q4_tiles.h.
//
// A group's factor is 8 s. The sum of its activations is multiplied by s * (3 (z - 7) - 64), at most 1,275 in
// magnitude. Both fit int16.
#include "kernels/avx2/q4_tiles.h"

namespace qwen3cpu::avx2 {
namespace {

// Indices for pshufb on two groups' 16 bytes. Row r's bytes go to lane r: the byte of group 0 to the lower int16, the
// byte of group 1 to the upper one.
alignas(32) constexpr int8_t kBothGroups[32] = {0, -1, 8,  -1, 1, -1, 9,  -1, 2, -1, 10, -1, 3, -1, 11, -1,
                                                4, -1, 12, -1, 5, -1, 13, -1, 6, -1, 14, -1, 7, -1, 15, -1};
// Indices that then copy the lower or the upper int16 into both.
alignas(32) constexpr int8_t kOneGroup[2][32] = {
    {0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13, 0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13},
    {2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15, 2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15},
};
// By z: 3 (z - 7) - 64.
constexpr int8_t kPlaces[16] = {-85, -82, -79, -76, -73, -70, -67, -64, -61, -58, -55, -52, -49, -46, -43, -40};

struct Q4Format {
  using Block = Q4Block;

  // dot[t] = sum over groups of s * (3 (z - 7) - 64) * (sum of x_t): the terms of the place of zero and of the nibbles'
  // offset.
  template <int T>
  static QWEN3CPU_INLINE void start_block(const Block& block, int groups, const int16_t* sum, int64_t sums,
                                          __m256i (&factor)[kBlockGroups], __m256i (&dot)[T]) {
    for (__m256i& each : dot) each = _mm256_setzero_si256();
    for (int g = 0; g < groups; g += 2) {
      const __m256i both = _mm256_shuffle_epi8(broadcast16(block.scale[g]), load(kBothGroups));
      const __m256i s = _mm256_and_si256(both, _mm256_set1_epi16(15)), z = _mm256_srli_epi16(both, 4);
      const __m256i eight_s = _mm256_slli_epi16(s, 3);
      factor[g] = _mm256_shuffle_epi8(eight_s, load(kOneGroup[0]));
      factor[g + 1] = _mm256_shuffle_epi8(eight_s, load(kOneGroup[1]));
      const __m256i of_sums = _mm256_maddubs_epi16(s, _mm256_shuffle_epi8(broadcast16(kPlaces), z));
      for (int t = 0; t < T; ++t) {
        // After an odd last group, a step of zero is multiplied by the slack of the sums.
        const __m256i two_sums = broadcast4(sum + t * sums + g);
        dot[t] = _mm256_add_epi32(dot[t], _mm256_madd_epi16(of_sums, two_sums));
      }
    }
  }
};

}  // namespace

void q4::matmul(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                float* y, int64_t ldy, uint8_t*) {
  multiply_q4<Q4Format>(w, first_tile, n_tiles, x, first_token, n_tokens, y, ldy);
}

#include "kernels/q4x2_kernel.inc"

}  // namespace qwen3cpu::avx2
