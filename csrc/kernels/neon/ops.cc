// Norm, rotation, activation function and quantisation of activations.
#include <cmath>
#include <cstddef>

#include "kernels/choose_experts.h"
#include "kernels/neon/exp.h"
#include "kernels/neon/quantize.h"

namespace qwen3cpu::neon {
namespace {

// 32 values of which the first n exist, as int8; returns their sum.
inline int16_t quantize_group(const float* x, int n, BlockScale scale, int8_t* q) {
  int sum = 0;
  for (int i = 0; i < kGroup; i += kLanes) {
    const int left = n - i;
    const F8 v = left <= 0 ? all8(0.0f) : load_some(x + i, left < kLanes ? left : kLanes);
    const int8x8_t bytes = quantize8(v, scale);
    vst1_s8(q + i, bytes);
    sum += vaddlv_s8(bytes);
  }
  return static_cast<int16_t>(sum);
}

inline void quantize(const float* x, int cols, int block, int8_t* q, float* scale, int16_t* sum) {
  for (int first = 0; first < cols; first += block) {
    const int n = cols - first < block ? cols - first : block;
    const BlockScale of_block = block_scale(greatest_magnitude(x + first, n));
    scale[first / block] = of_block.scale;
    for (int i = first; i < first + n; i += kGroup)
      sum[i / kGroup] = quantize_group(x + i, first + n - i, of_block, q + i);
  }
}

}  // namespace

void ops::rms_norm(const float* x, const float* weight, float eps, int n, float* out) {
  F8 squares = all8(0.0f);
  for_vectors(n, [&](int i, int some) {
    const F8 v = load_some(x + i, some);
    squares = fma(squares, v, v);
  });
  const F8 rsqrt = all8(1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(n) + eps));
  for_vectors(n, [&](int i, int some) {
    store_some(out + i, some, (load_some(x + i, some) * rsqrt) * load_some(weight + i, some));
  });
}

void ops::rope(float* x, const float* cos, const float* sin, int half) {
  for_vectors(half, [&](int i, int some) {
    const F8 a = load_some(x + i, some), b = load_some(x + half + i, some);
    const F8 c = load_some(cos + i, some), s = load_some(sin + i, some);
    const F8 negated = {vnegq_f32(b.low), vnegq_f32(b.high)};
    store_some(x + i, some, fma(a * c, negated, s));
    store_some(x + half + i, some, fma(b * c, a, s));
  });
}

void ops::silu_mul(const float* gate, const float* up, int n, float* out) {
  for_vectors(n, [&](int i, int some) {
    const F8 g = load_some(gate + i, some);
    const F8 negated = {vnegq_f32(g.low), vnegq_f32(g.high)};
    const F8 silu = g / (all8(1.0f) + exponential(negated));
    store_some(out + i, some, silu * load_some(up + i, some));
  });
}

void ops::add_scaled(const float* x, float scale, int n, float* y) {
  for_vectors(
      n, [&](int i, int some) { store_some(y + i, some, fma(load_some(y + i, some), load_some(x + i, some), scale)); });
}

void ops::route(const float* logits, int experts, int k, bool normalised, int* chosen, float* weight) {
  const float largest = choose_experts(logits, experts, k, chosen);
  const F8 top = all8(largest);
  F8 total = all8(0.0f);
  for_vectors(experts, [&](int i, int some) {
    float e[kLanes] = {};
    store_some(e, some, exponential(load_some(logits + i, some) - top));
    total = total + load8(e);
  });
  const float sum = sum_lanes(total);
  for (int j = 0; j < k; ++j) weight[j] = exponential(logits[chosen[j]] - largest) / sum;
  weigh_experts(normalised, k, weight);
}

void ops::quantize_i8g32(const float* x, int cols, int, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, 32, q, scale, sum);
}

void ops::quantize_i8g256(const float* x, int cols, int, int8_t* q, float* scale, int16_t* sum) {
  quantize(x, cols, 256, q, scale, sum);
}

}  // namespace qwen3cpu::neon
