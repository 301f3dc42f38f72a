// The exponential on 16 lanes. It gives the bits of kernels/scalar/exp.h for every x up to kExpMax and NaN.
#pragma once

#include <immintrin.h>

#include "kernels/exp_constants.h"

namespace qwen3cpu::avx512vnni {
namespace {

// Lanes below kExpMin are masked at the end, so x need not be clamped first.
inline __m512 exponential(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f), shift = _mm512_set1_ps(kRoundShift);
  const __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(kLog2E), shift), shift);
  const __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-kLn2Low), _mm512_fmadd_ps(n, _mm512_set1_ps(-kLn2High), x));
  __m512 p = _mm512_set1_ps(kExp6);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp5));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp4));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp3));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp2));
  p = _mm512_fmadd_ps(p, r, one);
  p = _mm512_fmadd_ps(p, r, one);
  // p * 2^n is a normal number, so this is as exact as the twin's multiplication.
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(kExpMin), _CMP_NLT_UQ), p, n);
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
