// Rounding with feedback, a row at a time.
#include <cfloat>
#include <cmath>

#include "kernels/scalar/kernels.h"

namespace qwen3cpu::scalar {
namespace {

// Half to even; a magnitude from 2^23 on stays as large, zero is +0.
float round(float x) { return (x + 0x1.8p+23f) - 0x1.8p+23f; }

// Within [low, high]; high for a NaN.
float hold(float x, float low, float high) {
  const float below = x < high ? x : high;
  return below > low ? below : low;
}

float quantize(float v) { return round(hold(v, -8.0f, 7.0f)); }

float magnitude_of(float x) { return hold(round(x), 1.0f, 127.0f); }

// One row's part of a group: its weights, and the factor from its first column on.
struct Group {
  float w[kGroup];
  const float* u;
  int64_t stride;
  const float* importance;
};

// Rounds with a step; rest: what is left of each weight, in steps. Returns the loss in steps^2.
float round_group(const Group& group, float step, float (&q)[kGroup], float (&rest)[kGroup]) {
  const float inverse = 1.0f / step;
  float v[kGroup], loss = 0.0f;
  for (int i = 0; i < kGroup; ++i) v[i] = group.w[i] * inverse;
  for (int i = 0; i < kGroup; ++i) {
    q[i] = quantize(v[i]);
    rest[i] = v[i] - q[i];
    for (int j = i + 1; j < kGroup; ++j) v[j] = std::fma(-rest[i], group.u[i * group.stride + j], v[j]);
    loss = std::fma(rest[i] * rest[i], group.importance[i], loss);
  }
  return loss;
}

// Error of rounding without feedback, the extreme weight -level steps; y: weights with the extreme one at -1.
float error_at(const float (&y)[kGroup], const float* importance, float level) {
  float error = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    const float v = y[i] * level, rest = v - quantize(v);
    error = std::fma(rest * rest, importance[i], error);
  }
  return error * ((1.0f / level) * (1.0f / level));
}

// 1 / level of least error in each class.
void best_levels(const float (&y)[kGroup], const float* importance, float (&inverse)[kRoundClasses]) {
  float least[kRoundClasses], level = kRoundFirstLevel;
  for (float& each : least) each = FLT_MAX;
  for (int i = 0; i < kRoundLevels; ++i, level *= kRoundLevelRatio) {
    const float error = error_at(y, importance, level);
    if (!(error < least[i % kRoundClasses])) continue;
    least[i % kRoundClasses] = error;
    inverse[i % kRoundClasses] = 1.0f / level;
  }
}

float search(const Group& group, float unit) {
  float extreme = 0.0f, y[kGroup], inverse[kRoundClasses] = {}, q[kGroup], rest[kGroup];
  for (const float x : group.w) extreme = std::fabs(x) > std::fabs(extreme) ? x : extreme;
  const float sign = extreme > 0.0f ? -1.0f : 1.0f, largest = std::fabs(extreme);
  for (int i = 0; i < kGroup; ++i) y[i] = group.w[i] * (largest >= FLT_MIN ? sign / largest : 0.0f);
  best_levels(y, group.importance, inverse);
  float best = 1.0f, least = FLT_MAX;
  const auto attempt = [&](float magnitude) {
    const float loss = round_group(group, magnitude * (sign * unit), q, rest) * (magnitude * magnitude);
    if (!(loss < least)) return;
    least = loss;
    best = magnitude;
  };
  for (const float each : inverse) attempt(magnitude_of(largest / unit * each));
  const float centre = best;
  attempt(magnitude_of(centre - 1.0f));
  attempt(magnitude_of(centre + 1.0f));
  return sign * best;
}

}  // namespace

void ops::round_q4(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale) {
  const int64_t n = factor.n;
  for (int first = 0; first < factor.n; first += kGroup)
    for (int row = 0; row < kRoundRows; ++row) {
      const float unit = row_scale[row] > 0.0f ? row_scale[row] : 1.0f;
      Group group{{}, factor.u + first * (n + 1), n, factor.importance + first};
      for (int i = 0; i < kGroup; ++i) {
        float& own = group.w[i] = w[(first + i) * kRoundRows + row];
        for (int k = 0; k < first; ++k) own = std::fma(-w[k * kRoundRows + row], factor.u[k * n + first + i], own);
      }
      const float chosen = search(group, unit), step = chosen * unit;
      float quantized[kGroup], rest[kGroup];
      round_group(group, step, quantized, rest);
      scale[first / kGroup * kRoundRows + row] = static_cast<int8_t>(chosen);
      for (int i = 0; i < kGroup; ++i) {
        q[(first + i) * kRoundRows + row] = static_cast<int8_t>(quantized[i]);
        w[(first + i) * kRoundRows + row] = rest[i] * step;
      }
    }
}

}  // namespace qwen3cpu::scalar
