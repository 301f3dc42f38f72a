// Rounding with feedback, 8 rows a register: see ../round_q4.h.
#include "kernels/round_q4.h"

#include <immintrin.h>

#include "kernels/avx2/kernels.h"

namespace qwen3cpu::avx2 {
namespace {

struct Lanes {
  static constexpr int kWidth = 8, kSums = 8;
  using Vector = __m256;

  static Vector splat(float x) { return _mm256_set1_ps(x); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static void store_bytes(int8_t* p, Vector v) {
    const __m256i whole = _mm256_cvtps_epi32(v);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  static Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  static Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector fms(Vector a, Vector b, Vector c) { return _mm256_fmsub_ps(a, b, c); }
  static Vector fnma(Vector a, Vector b, Vector c) { return _mm256_fnmadd_ps(a, b, c); }
};

}  // namespace

void ops::round_q4(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale,
                   int8_t* zero) {
  rounding::RoundQ4<Lanes>::run(factor, row_scale, w, q, scale, zero);
}

}  // namespace qwen3cpu::avx2
