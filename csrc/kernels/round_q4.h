// RoundQ4Fn for any width of registers: some of the 16 rows side by side in a register, some registers in flight.
//
// Lanes is a class of static functions on registers of floats, which also know + - * /, < and ?: by the element:
//   kWidth       floats of a register: 4, 8 or 16
//   kSums        registers that sums may take
//   Vector       the register
//   splat(x), load(p), store(p, v)
//   store_bytes(p, v)  whole numbers, as int8
//   min(a, b)    a < b ? a : b
//   max(a, b)    a > b ? a : b
//   fma(a, b, c)   a * b + c, rounded once
//   fnma(a, b, c)  c - a * b, rounded once
//
// Internal linkage.
#pragma once

#include <cfloat>

#include "kernels/table.h"

namespace qwen3cpu::rounding {
namespace {

template <class Lanes>
class RoundQ4 {
 public:
  static void run(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale) {
    for (int first = 0; first < factor.n; first += kGroup) {
      subtract_earlier(factor, first, w);
      alignas(64) float step[kRoundRows];
      for (int part = 0; part < kParts; ++part) {
        const int at = part * kWidth;
        const V row = Lanes::load(row_scale + at);
        const V chosen = search(factor, first, w + int64_t{first} * kRoundRows + at, row);
        Lanes::store(step + at, chosen * unit_of(row));
        Lanes::store_bytes(scale + first / kGroup * kRoundRows + at, chosen);
      }
      finish(factor, first, step, w, q);
    }
  }

 private:
  using V = typename Lanes::Vector;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kParts = kRoundRows / kWidth;

  static V quantize(V v) {
    const V round = Lanes::splat(0x1.8p+23f);
    return (Lanes::max(Lanes::min(v, Lanes::splat(7.0f)), Lanes::splat(-8.0f)) + round) - round;
  }

  // A row whose scale is 0 has weights so small that every step rounds them to 0.
  static V unit_of(V row_scale) { return row_scale > V{} ? row_scale : Lanes::splat(1.0f); }

  static V magnitude_of(V x) { return Lanes::max(x, -x); }

  // sums[c][p] -= rest[k][p] * u[k][c] for k in [0, n), rows of u `stride` apart, those of rest `apart`.
  template <int C, int P>
  static void subtract(const float* rest, int apart, const float* u, int64_t stride, int n, V (&sums)[C][P]) {
    for (int k = 0; k < n; ++k, rest += apart, u += stride) {
      V r[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) r[p] = Lanes::load(rest + p * kWidth);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        const V factor = Lanes::splat(u[c]);
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) sums[c][p] = Lanes::fnma(r[p], factor, sums[c][p]);
      }
    }
  }

  // What the groups before this one have left for it to make up for.
  static void subtract_earlier(const RoundFactor& factor, int first, float* w) {
    constexpr int C = Lanes::kSums / kParts;
    for (int column = first; column < first + kGroup; column += C) {
      float* own = w + int64_t{column} * kRoundRows;
      V sums[C][kParts];
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c)
        for (int p = 0; p < kParts; ++p) sums[c][p] = Lanes::load(own + c * kRoundRows + p * kWidth);
      subtract<C, kParts>(w, kRoundRows, factor.u + column, factor.n, first, sums);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c)
        for (int p = 0; p < kParts; ++p) Lanes::store(own + c * kRoundRows + p * kWidth, sums[c][p]);
    }
  }

  // Rounds the group at w, P registers in flight, the weights of each `apart` from those of the one before. Calls
  // take(column, p, quantized, rest), rest in steps.
  template <int P, class Take>
  static void round_group(const RoundFactor& factor, int first, const float* w, int apart, const V (&inverse)[P],
                          Take&& take) {
    constexpr int C = Lanes::kSums / P;
    const float* u = factor.u + int64_t{first} * (factor.n + 1);
    alignas(64) float rest[kGroup][P][kWidth];
    for (int column = 0; column < kGroup; column += C) {
      V v[C][P];
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c)
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) v[c][p] = Lanes::load(w + (column + c) * kRoundRows + p * apart) * inverse[p];
      subtract<C, P>(rest[0][0], P * kWidth, u + column, factor.n, column, v);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) {
        const float* later = u + int64_t{column + c} * factor.n + column;
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const V q = quantize(v[c][p]), r = v[c][p] - q;
          Lanes::store(rest[column + c][p], r);
          take(column + c, p, q, r);
#pragma GCC unroll 16
          for (int d = c + 1; d < C; ++d) v[d][p] = Lanes::fnma(r, Lanes::splat(later[d]), v[d][p]);
        }
      }
    }
  }

  struct Best {
    V magnitude, loss;
  };

  // Tries P magnitudes of the group's scale. unit: of a step of magnitude 1, with its sign.
  template <int P>
  static void attempt(const RoundFactor& factor, int first, const float* w, V unit, const V (&magnitude)[P],
                      Best& best) {
    V inverse[P], loss[P];
    for (int p = 0; p < P; ++p) {
      inverse[p] = Lanes::splat(1.0f) / (magnitude[p] * unit);
      loss[p] = V{};
    }
    const float* importance = factor.importance + first;
    round_group<P>(factor, first, w, 0, inverse, [&](int column, int p, V, V r) __attribute__((always_inline)) {
      loss[p] = Lanes::fma(r * r, Lanes::splat(importance[column]), loss[p]);
    });
    for (int p = 0; p < P; ++p) {
      const V own = loss[p] * (magnitude[p] * magnitude[p]);
      best.magnitude = own < best.loss ? magnitude[p] : best.magnitude;
      best.loss = Lanes::min(own, best.loss);
    }
  }

  // 1 / level of the level of least squared error without feedback in each class. y: weights, extreme weight at -1.
  static void score(const V (&y)[kGroup], const float* importance, V (&inverse_level)[kRoundClasses]) {
    V least[kRoundClasses];
    for (V& each : least) each = Lanes::splat(FLT_MAX);
    float level = kRoundFirstLevel;
    for (int i = 0; i < kRoundLevels; i += kRoundClasses) {
      V levels[kRoundClasses], error[kRoundClasses] = {};
      float inverse[kRoundClasses];
      for (int c = 0; c < kRoundClasses; ++c, level *= kRoundLevelRatio) {
        levels[c] = Lanes::splat(level);
        inverse[c] = 1.0f / level;
      }
      for (int column = 0; column < kGroup; ++column) {
        const V weight = Lanes::splat(importance[column]);
#pragma GCC unroll 4
        for (int c = 0; c < kRoundClasses; ++c) {
          const V v = y[column] * levels[c], r = v - quantize(v);
          error[c] = Lanes::fma(r * r, weight, error[c]);
        }
      }
      for (int c = 0; c < kRoundClasses; ++c) {
        const V own = error[c] * (inverse[c] * inverse[c]);
        inverse_level[c] = own < least[c] ? Lanes::splat(inverse[c]) : inverse_level[c];
        least[c] = Lanes::min(own, least[c]);
      }
    }
  }

  // The scale of the group at w: 1 to 127 or -127 to -1.
  static V search(const RoundFactor& factor, int first, const float* w, V row_scale) {
    V extreme = {};
    for (int column = 0; column < kGroup; ++column) {
      const V x = Lanes::load(w + column * kRoundRows);
      extreme = magnitude_of(x) > magnitude_of(extreme) ? x : extreme;
    }
    const V one = Lanes::splat(1.0f), most = Lanes::splat(127.0f), round = Lanes::splat(0x1.8p+23f);
    const V sign = extreme > V{} ? -one : one, largest = magnitude_of(extreme);
    const V normalizer = largest >= Lanes::splat(FLT_MIN) ? sign / largest : V{};
    V y[kGroup], magnitude[kRoundClasses] = {};
    for (int column = 0; column < kGroup; ++column) y[column] = Lanes::load(w + column * kRoundRows) * normalizer;
    score(y, factor.importance + first, magnitude);
    const V unit = unit_of(row_scale);
    for (V& each : magnitude) each = Lanes::max(Lanes::min(((largest / unit) * each + round) - round, most), one);
    Best best{one, Lanes::splat(FLT_MAX)};
    attempt(factor, first, w, sign * unit, magnitude, best);
    const V neighbours[2] = {Lanes::max(best.magnitude - one, one), Lanes::min(best.magnitude + one, most)};
    attempt(factor, first, w, sign * unit, neighbours, best);
    return sign * best.magnitude;
  }

  // Rounds the group for good.
  static void finish(const RoundFactor& factor, int first, const float* step, float* w, int8_t* q) {
    V steps[kParts], inverse[kParts];
    for (int p = 0; p < kParts; ++p) {
      steps[p] = Lanes::load(step + p * kWidth);
      inverse[p] = Lanes::splat(1.0f) / steps[p];
    }
    float* own = w + int64_t{first} * kRoundRows;
    int8_t* own_q = q + int64_t{first} * kRoundRows;
    round_group<kParts>(factor, first, own, kWidth, inverse,
                        [&](int column, int p, V quantized, V r) __attribute__((always_inline)) {
                          const int64_t at = int64_t{column} * kRoundRows + p * kWidth;
                          Lanes::store(own + at, r * steps[p]);
                          Lanes::store_bytes(own_q + at, quantized);
                        });
  }
};

}  // namespace
}  // namespace qwen3cpu::rounding
