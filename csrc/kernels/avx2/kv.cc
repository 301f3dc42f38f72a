// Keys and values: attention to a block, and writing into one. See ../kv_block.h.
#include "kernels/avx2/kv_vectors.h"
#include "kernels/avx2/quantize.h"

namespace qwen3cpu::avx2 {
namespace {

inline void store_halves(uint16_t* p, __m256 x) {
  constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, nearest_even));
}

inline void store_quantized(int8_t* p, __m256 x, BlockScale scale) {
  __m128i bytes = _mm_setzero_si128();
  if (scale.inverse != 0.0f) {
    const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(scale.inverse)));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    bytes = _mm_packs_epi16(words, words);
  }
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
}

}  // namespace

#include "kernels/kv_definition.inc"

}  // namespace qwen3cpu::avx2
