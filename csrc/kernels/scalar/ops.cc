// Norm, rotation, activation function and quantisation of activations.
#include <cmath>

#include "exp.h"
#include "kernels.h"

namespace qwen3cpu::scalar {
namespace {

constexpr uint32_t kInfinityBits = 0x7f800000u;

// Quantises x[0, n) to int8 with one scale; returns the scale.
float quantize_block(const float* x, int n, int8_t* q) {
  uint32_t amax_bits = 0;  // magnitudes compare like their bits, and a NaN is the largest
  for (int i = 0; i < n; ++i) {
    const uint32_t bits = float_bits(x[i]) & 0x7fffffffu;
    amax_bits = bits > amax_bits ? bits : amax_bits;
  }
  const float amax = bits_float(amax_bits);
  const float inverse = 127.0f / amax;
  if (amax_bits >= kInfinityBits || (float_bits(inverse) & 0x7fffffffu) >= kInfinityBits) {
    for (int i = 0; i < n; ++i) q[i] = 0;
    return amax_bits >= kInfinityBits ? amax : 0.0f;
  }
  for (int i = 0; i < n; ++i) q[i] = static_cast<int8_t>(std::lrintf(x[i] * inverse));
  return amax / 127.0f;
}

void quantize(const float* x, int cols, int stride, int block, int8_t* q, float* scale, int16_t* sum) {
  for (int first = 0; first < cols; first += block) {
    const int n = cols - first < block ? cols - first : block;
    scale[first / block] = quantize_block(x + first, n, q + first);
  }
  for (int i = cols; i < stride; ++i) q[i] = 0;
  for (int g = 0; g < stride / kGroup; ++g) {
    int total = 0;
    for (int i = 0; i < kGroup; ++i) total += q[g * kGroup + i];
    sum[g] = static_cast<int16_t>(total);
  }
}

}  // namespace

void rms_norm(const float* x, const float* weight, float eps, int n, float* out) {
  float lane[8] = {};
  for (int i = 0; i < n; ++i) lane[i % 8] = std::fma(x[i], x[i], lane[i % 8]);
  const float rsqrt = 1.0f / std::sqrt(sum_lanes(lane) / static_cast<float>(n) + eps);
  for (int i = 0; i < n; ++i) out[i] = (x[i] * rsqrt) * weight[i];
}

void rope(float* x, const float* cos, const float* sin, int half) {
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = std::fma(-b, sin[i], a * cos[i]);
    x[i + half] = std::fma(a, sin[i], b * cos[i]);
  }
}

void silu_mul(const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

void quantize_i8g32(const float* x, int cols, int stride, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, stride, 32, q, scale, sum);
}

void quantize_i8g256(const float* x, int cols, int stride, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, stride, 256, q, scale, sum);
}

}  // namespace qwen3cpu::scalar
