// The exponential of kernels/scalar/exp.h on 8 lanes, operation by operation.
#pragma once

#include "kernels/avx2/simd.h"
#include "kernels/exp_constants.h"

namespace qwen3cpu::avx2 {
namespace {

inline __m256 exponential(__m256 x) {
  const __m256 one = _mm256_set1_ps(1.0f), shift = _mm256_set1_ps(kRoundShift), least = _mm256_set1_ps(kExpMin);
  // minps and maxps return their second operand when one is NaN.
  const __m256 bounded = _mm256_max_ps(least, _mm256_min_ps(_mm256_set1_ps(kExpMax), x));
  const __m256 shifted = _mm256_fmadd_ps(bounded, _mm256_set1_ps(kLog2E), shift);
  const __m256 n = _mm256_sub_ps(shifted, shift);
  const __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-kLn2Low), _mm256_fmadd_ps(n, _mm256_set1_ps(-kLn2High), bounded));
  __m256 p = _mm256_set1_ps(kExp6);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp5));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp4));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp3));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp2));
  p = _mm256_fmadd_ps(p, r, one);
  p = _mm256_fmadd_ps(p, r, one);
  const __m256i power_of_two =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127)), 23);
  const __m256 vanishes = _mm256_cmp_ps(x, least, _CMP_LT_OQ);
  return _mm256_andnot_ps(vanishes, _mm256_mul_ps(p, _mm256_castsi256_ps(power_of_two)));
}

// exp of x in the lowest lane.
inline float exponential(float x) { return _mm256_cvtss_f32(exponential(_mm256_set1_ps(x))); }

}  // namespace
}  // namespace qwen3cpu::avx2
