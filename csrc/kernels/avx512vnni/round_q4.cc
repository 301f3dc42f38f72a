// Rounding with feedback, 16 rows a register: see ../round_q4.h.
#include "kernels/round_q4.h"

#include <immintrin.h>

#include "kernels/avx512vnni/kernels.h"

namespace qwen3cpu::avx512vnni {
namespace {

struct Lanes {
  static constexpr int kWidth = 16, kSums = 16;
  using Vector = __m512;

  static Vector splat(float x) { return _mm512_set1_ps(x); }
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static void store_bytes(int8_t* p, Vector v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }
  static Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector fms(Vector a, Vector b, Vector c) { return _mm512_fmsub_ps(a, b, c); }
  static Vector fnma(Vector a, Vector b, Vector c) { return _mm512_fnmadd_ps(a, b, c); }
};

}  // namespace

void ops::round_q4(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale,
                   int8_t* zero) {
  rounding::RoundQ4<Lanes>::run(factor, row_scale, w, q, scale, zero);
}

}  // namespace qwen3cpu::avx512vnni
