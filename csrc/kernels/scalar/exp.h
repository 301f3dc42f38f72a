// The exponential that all kernels use, as scalar code. kernels/avx2/exp.h does the same operations on vectors.
#pragma once

#include <cmath>

#include "kernels/exp_constants.h"
#include "layout/half.h"

namespace qwen3cpu::scalar {

// e^x within 1.5 ulp for x in [-87, 88]. It is exactly 0 below -87, the value at 88 above 88, exactly 1 at 0, and NaN
// for NaN.
static inline float exponential(float x) {
  float bounded = kExpMax < x ? kExpMax : x;  // in this form a NaN passes, as in minps and maxps
  bounded = kExpMin > bounded ? kExpMin : bounded;
  const float shifted = std::fma(bounded, kLog2E, kRoundShift);  // its low bits are the integer nearest x / ln 2
  const float n = shifted - kRoundShift;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, bounded));
  float p = kExp6;
  p = std::fma(p, r, kExp5);
  p = std::fma(p, r, kExp4);
  p = std::fma(p, r, kExp3);
  p = std::fma(p, r, kExp2);
  p = std::fma(p, r, 1.0f);
  p = std::fma(p, r, 1.0f);
  const float power_of_two = bits_float((float_bits(shifted) + 127u) << 23);
  return x < kExpMin ? 0.0f : p * power_of_two;
}

// The sum of 8 lanes in the order that every kernel uses.
static inline float sum_lanes(const float (&lane)[8]) {
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

}  // namespace qwen3cpu::scalar
