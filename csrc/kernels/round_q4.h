// RoundQ4Fn for any width of registers: some of the 16 rows side by side in a register, some registers at a time.
//
// Lanes is a class of static functions on registers of floats. The registers also support + - * /, < and ?: by element.
//   kWidth       floats of a register: 4, 8 or 16
//   kSums        registers that sums may take
//   Vector       the register
//   splat(x), load(p), store(p, v)
//   store_bytes(p, v)  whole numbers, as int8
//   min(a, b)    a < b ? a : b
//   max(a, b)    a > b ? a : b
//   fma(a, b, c)   a * b + c, rounded once
//   fnma(a, b, c)  c - a * b, rounded once
//   fms(a, b, c)  a * b - c, rounded once
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
  static void run(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale, int8_t* zero) {
    for (int first = 0; first < factor.n; first += kGroup) {
      subtract_earlier(factor, first, w);
      Choice chosen[kParts];
      for (int part = 0; part < kParts; ++part) {
        const int at = part * kWidth;
        const V unit = unit_of(Lanes::load(row_scale + at));
        chosen[part] = search(factor, first, w + int64_t{first} * kRoundRows + at, unit);
        const int64_t group = int64_t{first} / kGroup * kRoundRows + at;
        Lanes::store_bytes(scale + group, chosen[part].scale);
        Lanes::store_bytes(zero + group, chosen[part].zero);
        chosen[part].scale = chosen[part].scale * unit;
      }
      finish(factor, first, chosen, w, q);
    }
  }

 private:
  using V = typename Lanes::Vector;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kParts = kRoundRows / kWidth;

  // How a group of a row is rounded: weights are near scale * (unit * (n - 8) + 3/8 zero).
  struct Choice {
    V scale, zero;
  };

  static V whole(V v) {
    const V round = Lanes::splat(0x1.8p+23f);
    return (v + round) - round;
  }

  static V hold(V v, float low, float high) { return Lanes::max(Lanes::min(v, Lanes::splat(high)), Lanes::splat(low)); }

  static V quantize(V v) { return whole(hold(v, -8.0f, 7.0f)); }

  // The step of scale 1. A row whose scale is 0 has weights so small that every step rounds them to 0.
  static V unit_of(V row_scale) {
    return row_scale > V{} ? row_scale * Lanes::splat(kQ4LevelParts) : Lanes::splat(1.0f);
  }

  static V offset_of(V zero) { return zero * Lanes::splat(kQ4ZeroStep); }

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

  // Subtracts the errors of earlier groups from the weights of this group.
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

  // Rounds the group at w for P registers at a time, whose weights are `apart` from each other. Calls
  // `take(column, p, quantized, rest)`, rest in steps.
  template <int P, class Take>
  static void round_group(const RoundFactor& factor, int first, const float* w, int apart, const V (&inverse)[P],
                          const V (&offset)[P], Take&& take) {
    constexpr int C = Lanes::kSums / P;
    const float* u = factor.u + int64_t{first} * (factor.n + 1);
    alignas(64) float rest[kGroup][P][kWidth];
    for (int column = 0; column < kGroup; column += C) {
      V v[C][P];
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c)
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p)
          v[c][p] = Lanes::fms(Lanes::load(w + (column + c) * kRoundRows + p * apart), inverse[p], offset[p]);
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
    Choice choice;
    V loss;
  };

  // Rounds the group with each of P choices.
  template <int P>
  static void attempt(const RoundFactor& factor, int first, const float* w, V unit, const Choice (&choice)[P],
                      Best& best) {
    V inverse[P], offset[P], loss[P];
    for (int p = 0; p < P; ++p) {
      inverse[p] = Lanes::splat(1.0f) / (choice[p].scale * unit);
      offset[p] = offset_of(choice[p].zero);
      loss[p] = V{};
    }
    const float* importance = factor.importance + first;
    round_group<P>(factor, first, w, 0, inverse, offset, [&](int column, int p, V, V r) __attribute__((always_inline)) {
      loss[p] = Lanes::fma(r * r, Lanes::splat(importance[column]), loss[p]);
    });
    for (int p = 0; p < P; ++p) {
      const V own = loss[p] * (choice[p].scale * choice[p].scale);
      best.choice.scale = own < best.loss ? choice[p].scale : best.choice.scale;
      best.choice.zero = own < best.loss ? choice[p].zero : best.choice.zero;
      best.loss = Lanes::min(own, best.loss);
    }
  }

  // The zero of least squared error without feedback for a scale. y: weights in units.
  static Best best_zero(const V (&y)[kGroup], const float* importance, V scale, V middle) {
    const V inverse = Lanes::splat(1.0f) / scale;
    const V nearest =
        whole(hold((middle * inverse + Lanes::splat(0.5f)) * Lanes::splat(1.0f / kQ4ZeroStep), -99.0f, 99.0f));
    V zero[kRoundZeros], offset[kRoundZeros], error[kRoundZeros] = {};
    for (int z = 0; z < kRoundZeros; ++z) {
      zero[z] = hold(nearest + Lanes::splat(static_cast<float>(z - kRoundZeros / 2)), kQ4LeastZero, kQ4MostZero);
      offset[z] = offset_of(zero[z]);
    }
    for (int column = 0; column < kGroup; ++column) {
      const V weight = Lanes::splat(importance[column]);
#pragma GCC unroll 8
      for (int z = 0; z < kRoundZeros; ++z) {
        const V v = Lanes::fms(y[column], inverse, offset[z]), r = v - quantize(v);
        error[z] = Lanes::fma(r * r, weight, error[z]);
      }
    }
    Best best{{scale, zero[0]}, error[0]};
    for (int z = 1; z < kRoundZeros; ++z) {
      best.choice.zero = error[z] < best.loss ? zero[z] : best.choice.zero;
      best.loss = Lanes::min(error[z], best.loss);
    }
    best.loss = best.loss * (scale * scale);
    return best;
  }

  static Choice search(const RoundFactor& factor, int first, const float* w, V unit) {
    const V inverse_unit = Lanes::splat(1.0f) / unit, one = Lanes::splat(1.0f);
    V y[kGroup], low, high;
    for (int column = 0; column < kGroup; ++column) {
      y[column] = Lanes::load(w + column * kRoundRows) * inverse_unit;
      low = column == 0 ? y[0] : Lanes::min(y[column], low);
      high = column == 0 ? y[0] : Lanes::max(y[column], high);
    }
    const V ends =
        Lanes::max(high * Lanes::splat(kRoundWidest / kQ4Above), -low * Lanes::splat(kRoundWidest / kQ4Below));
    const V widest = Lanes::max((high - low) * Lanes::splat(kRoundWidest / kQ4Range), ends);
    const V middle = (low + high) * Lanes::splat(0.5f);
    V scale = hold(whole(widest + Lanes::splat(0.5f)), 1.0f, kQ4MostScale);
    Best classes[kRoundClasses];
    for (int i = 0; i < kRoundScales; ++i) {
      const Best found = best_zero(y, factor.importance + first, scale, middle);
      scale = Lanes::max(scale - one, one);
      Best& own = classes[i % kRoundClasses];
      if (i < kRoundClasses) {
        own = found;
        continue;
      }
      own.choice.scale = found.loss < own.loss ? found.choice.scale : own.choice.scale;
      own.choice.zero = found.loss < own.loss ? found.choice.zero : own.choice.zero;
      own.loss = Lanes::min(found.loss, own.loss);
    }
    Choice tries[kRoundClasses];
    for (int c = 0; c < kRoundClasses; ++c) tries[c] = classes[c].choice;
    Best best{{one, V{}}, Lanes::splat(FLT_MAX)};
    attempt(factor, first, w, unit, tries, best);
    const Choice centre = best.choice;
    const Choice beside[2] = {{centre.scale, hold(centre.zero - one, kQ4LeastZero, kQ4MostZero)},
                              {centre.scale, hold(centre.zero + one, kQ4LeastZero, kQ4MostZero)}};
    attempt(factor, first, w, unit, beside, best);
    return best.choice;
  }

  // Rounds the group with its choice and stores the result. chosen: steps instead of scales.
  static void finish(const RoundFactor& factor, int first, const Choice (&chosen)[kParts], float* w, int8_t* q) {
    V inverse[kParts], offset[kParts];
    for (int p = 0; p < kParts; ++p) {
      inverse[p] = Lanes::splat(1.0f) / chosen[p].scale;
      offset[p] = offset_of(chosen[p].zero);
    }
    float* own = w + int64_t{first} * kRoundRows;
    int8_t* own_q = q + int64_t{first} * kRoundRows;
    round_group<kParts>(factor, first, own, kWidth, inverse, offset,
                        [&](int column, int p, V quantized, V r) __attribute__((always_inline)) {
                          const int64_t at = int64_t{column} * kRoundRows + p * kWidth;
                          Lanes::store(own + at, r * chosen[p].scale);
                          Lanes::store_bytes(own_q + at, quantized);
                        });
  }
};

}  // namespace
}  // namespace qwen3cpu::rounding
