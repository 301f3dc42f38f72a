// Rounding a block of floats to int8 with one scale, as scalar code. Internal linkage.
#pragma once

#include <cmath>

#include "layout/half.h"

namespace qwen3cpu::scalar {

// Quantises x[0, n) to int8, `step` apart in q; returns the scale. See QuantizeFn.
static inline float quantize_block(const float* x, int n, int8_t* q, int step = 1) {
  constexpr uint32_t infinity = 0x7f800000u;
  uint32_t amax_bits = 0;  // magnitudes compare like their bits, and a NaN is the largest
  for (int i = 0; i < n; ++i) {
    const uint32_t bits = float_bits(x[i]) & 0x7fffffffu;
    amax_bits = bits > amax_bits ? bits : amax_bits;
  }
  const float amax = bits_float(amax_bits);
  const float inverse = 127.0f / amax;
  if (amax_bits >= infinity || (float_bits(inverse) & 0x7fffffffu) >= infinity) {
    for (int i = 0; i < n; ++i) q[i * step] = 0;
    return amax_bits >= infinity ? amax : 0.0f;
  }
  for (int i = 0; i < n; ++i) q[i * step] = static_cast<int8_t>(std::lrintf(x[i] * inverse));
  return amax / 127.0f;
}

}  // namespace qwen3cpu::scalar
