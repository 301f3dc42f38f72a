// Norm, rotation, activation function and quantisation of activations.
#include <cmath>

#include "kernels/choose_experts.h"
#include "kernels/scalar/exp.h"
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/quantize.h"

namespace qwen3cpu::scalar {
namespace {

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

void ops::rms_norm(const float* x, const float* weight, float eps, int n, float* out) {
  float lane[8] = {};
  for (int i = 0; i < n; ++i) lane[i % 8] = std::fma(x[i], x[i], lane[i % 8]);
  const float rsqrt = 1.0f / std::sqrt(sum_lanes(lane) / static_cast<float>(n) + eps);
  for (int i = 0; i < n; ++i) out[i] = (x[i] * rsqrt) * weight[i];
}

void ops::rope(float* x, const float* cos, const float* sin, int half) {
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = std::fma(-b, sin[i], a * cos[i]);
    x[i + half] = std::fma(a, sin[i], b * cos[i]);
  }
}

void ops::silu_mul(const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

void ops::add(const float* x, const float* factor, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] += x[i];
  for (int i = 0; factor != nullptr && i < n; ++i) y[i] *= factor[i];
}

void ops::add_scaled(const float* x, float scale, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] = std::fma(scale, x[i], y[i]);
}

void ops::route(const float* logits, int experts, int k, bool normalised, int* chosen, float* weight) {
  const float largest = choose_experts(logits, experts, k, chosen);
  float lane[8] = {};
  for (int i = 0; i < experts; ++i) lane[i % 8] += exponential(logits[i] - largest);
  const float total = sum_lanes(lane);
  for (int j = 0; j < k; ++j) weight[j] = exponential(logits[chosen[j]] - largest) / total;
  weigh_experts(normalised, k, weight);
}

void ops::quantize_i8g32(const float* x, int cols, int stride, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, stride, 32, q, scale, sum);
}

void ops::quantize_i8g256(const float* x, int cols, int stride, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, stride, 256, q, scale, sum);
}

}  // namespace qwen3cpu::scalar
