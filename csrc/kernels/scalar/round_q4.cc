// Rounding with feedback, a row at a time.
#include <cfloat>
#include <cmath>

#include "kernels/scalar/kernels.h"

namespace qwen3cpu::scalar {
namespace {

// Rounds half to even. A magnitude of 2^23 or more does not change, and zero is +0.
float round(float x) { return (x + 0x1.8p+23f) - 0x1.8p+23f; }

// Clamps x to [low, high]; returns high for a NaN.
float hold(float x, float low, float high) {
  const float below = x < high ? x : high;
  return below > low ? below : low;
}

float quantize(float v) { return round(hold(v, -8.0f, 7.0f)); }

// One row's part of a group: its weights, and the factor from its first column on.
struct Group {
  float w[kGroup];
  const float* u;
  int64_t stride;
  const float* importance;
};

// How a group is rounded: weights are near scale * (unit * (n - 8) + 3/8 zero).
struct Choice {
  float scale = 1.0f, zero = 0.0f;
  float loss = FLT_MAX;

  void take_better(const Choice& other) {
    if (other.loss < loss) *this = other;
  }
};

// Rounds with a step. rest: the error of each weight, in steps. Returns the loss in steps^2.
float round_group(const Group& group, float step, float zero, float (&q)[kGroup], float (&rest)[kGroup]) {
  const float inverse = 1.0f / step, offset = zero * kQ4ZeroStep;
  float v[kGroup], loss = 0.0f;
  for (int i = 0; i < kGroup; ++i) v[i] = std::fma(group.w[i], inverse, -offset);
  for (int i = 0; i < kGroup; ++i) {
    q[i] = quantize(v[i]);
    rest[i] = v[i] - q[i];
    for (int j = i + 1; j < kGroup; ++j) v[j] = std::fma(-rest[i], group.u[i * group.stride + j], v[j]);
    loss = std::fma(rest[i] * rest[i], group.importance[i], loss);
  }
  return loss;
}

// The zero of least error without feedback for a scale; y: weights in units, middle: of their range.
Choice best_zero(const float (&y)[kGroup], const float* importance, float scale, float middle) {
  const float inverse = 1.0f / scale;
  const float nearest = round(hold((middle * inverse + 0.5f) * (1.0f / kQ4ZeroStep), -99.0f, 99.0f));
  Choice best;
  for (int z = 0; z < kRoundZeros; ++z) {
    Choice own{scale, hold(nearest + static_cast<float>(z - kRoundZeros / 2), kQ4LeastZero, kQ4MostZero), 0.0f};
    for (int i = 0; i < kGroup; ++i) {
      const float v = std::fma(y[i], inverse, -(own.zero * kQ4ZeroStep)), rest = v - quantize(v);
      own.loss = std::fma(rest * rest, importance[i], own.loss);
    }
    if (z == 0 || own.loss < best.loss) best = own;
  }
  best.loss *= scale * scale;
  return best;
}

// The best choice of each class of scales, to be tried with feedback.
void best_of_classes(const Group& group, float unit, Choice (&best)[kRoundClasses]) {
  float y[kGroup], low = 0.0f, high = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    y[i] = group.w[i] * (1.0f / unit);
    low = i == 0 || y[i] < low ? y[i] : low;
    high = i == 0 || y[i] > high ? y[i] : high;
  }
  const float above = high * (kRoundWidest / kQ4Above), below_zero = -low * (kRoundWidest / kQ4Below);
  const float ends = above > below_zero ? above : below_zero, range = (high - low) * (kRoundWidest / kQ4Range);
  const float widest = range > ends ? range : ends, middle = (low + high) * 0.5f;
  float scale = hold(round(widest + 0.5f), 1.0f, kQ4MostScale);
  for (int i = 0; i < kRoundScales; ++i, scale = hold(scale - 1.0f, 1.0f, kQ4MostScale)) {
    const Choice own = best_zero(y, group.importance, scale, middle);
    if (i < kRoundClasses)
      best[i] = own;
    else
      best[i % kRoundClasses].take_better(own);
  }
}

Choice search(const Group& group, float unit) {
  float q[kGroup], rest[kGroup];
  Choice classes[kRoundClasses], best;
  best_of_classes(group, unit, classes);
  const auto attempt = [&](Choice own) {
    own.loss = round_group(group, own.scale * unit, own.zero, q, rest) * (own.scale * own.scale);
    best.take_better(own);
  };
  for (const Choice& each : classes) attempt(each);
  const Choice centre = best;
  attempt({centre.scale, hold(centre.zero - 1.0f, kQ4LeastZero, kQ4MostZero)});
  attempt({centre.scale, hold(centre.zero + 1.0f, kQ4LeastZero, kQ4MostZero)});
  return best;
}

}  // namespace

void ops::round_q4(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale,
                   int8_t* zero) {
  const int64_t n = factor.n;
  for (int first = 0; first < factor.n; first += kGroup)
    for (int row = 0; row < kRoundRows; ++row) {
      const float unit = row_scale[row] > 0.0f ? row_scale[row] * kQ4LevelParts : 1.0f;
      Group group{{}, factor.u + first * (n + 1), n, factor.importance + first};
      for (int i = 0; i < kGroup; ++i) {
        float& own = group.w[i] = w[(first + i) * kRoundRows + row];
        for (int k = 0; k < first; ++k) own = std::fma(-w[k * kRoundRows + row], factor.u[k * n + first + i], own);
      }
      const Choice chosen = search(group, unit);
      const float step = chosen.scale * unit;
      float quantized[kGroup], rest[kGroup];
      round_group(group, step, chosen.zero, quantized, rest);
      scale[first / kGroup * kRoundRows + row] = static_cast<int8_t>(chosen.scale);
      zero[first / kGroup * kRoundRows + row] = static_cast<int8_t>(chosen.zero);
      for (int i = 0; i < kGroup; ++i) {
        q[(first + i) * kRoundRows + row] = static_cast<int8_t>(quantized[i]);
        w[(first + i) * kRoundRows + row] = rest[i] * step;
      }
    }
}

}  // namespace qwen3cpu::scalar
