// q8 weights times int8 activations of many tokens by VPDPBUSD, as a format of vnni_panel.h. Internal linkage.
//
// Unpacking joins two row tiles in a register, and converts their scales to floats.
#pragma once

#include "kernels/vnni_panel.h"

namespace qwen3cpu::vnni {
namespace {

template <class Rows, int R>
struct Q8Panel {
  static constexpr Format kFormat = Format::q8;
  static constexpr int kRun = Rows::kQ8PanelRun;

  // q8 has no scales of rows.
  struct RowScale {
    RowScale(const Matrix&, int, int64_t) {}
    typename Rows::Float operator()(typename Rows::Float sum) const { return sum; }
  };

  typename Rows::Int w[kPanelCols / 4][R];
  typename Rows::Float scale[kPanelGroups][R];

  __attribute__((noinline)) void unpack(const uint8_t* const (&block)[R], int64_t apart, int64_t ahead, int groups) {
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      const auto* blocks = reinterpret_cast<const Q8Block*>(block[i]);
#pragma GCC unroll 1
      for (int g = 0; g < groups; ++g) {
        const auto& q = blocks[g / Q8Block::kGroups].q[g % Q8Block::kGroups];
        scale[g][i] = Rows::scales_q8(blocks[g / Q8Block::kGroups].scale[g % Q8Block::kGroups], apart);
#pragma GCC unroll 8
        for (int v = 0; v < 8; ++v) {
          if (v % 2 == 0) prefetch<Rows, 0, _MM_HINT_T0>(q[v][0] + ahead, apart);
          w[8 * g + v][i] = Rows::load(q[v], apart);
        }
      }
    }
  }

  // A group's sums start at the bits of kFloat, whose last bit stands for 1. Added to those bits, a sum below 2^22
  // makes the float kFloat + sum. So the sums need no conversion to float. Subtracting kFloat and the offset of the
  // weights (128 times the sum of the activations) is exact.
  template <int T>
  __attribute__((noinline)) void multiply(int groups, const Tokens& x, int b, typename Rows::Float* to) const {
    using Float = typename Rows::Float;
    const int64_t stride = x.stride, scales = x.scales;
    const int8_t* q = x.q + int64_t{b} * kPanelCols;
    const float* scale_x = x.scale + int64_t{b} * kPanelGroups;
    const int16_t* sum_x = x.sum + int64_t{b} * kPanelGroups;
    float start[T][kPanelGroups];
    for (int t = 0; t < T; ++t)
      for (int g = 0; g < kPanelGroups; ++g) start[t][g] = kFloat + 128.0f * sum_x[t * x.sums + g];
    const Float first = Rows::set1(kFloat);
    Float acc[T][R];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) acc[t][i] = to[t * R + i];
#pragma GCC unroll 1
    for (int g = 0; g < groups; ++g, q += kGroup) {
      typename Rows::Int sum[T][R];
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
        for (int i = 0; i < R; ++i) sum[t][i] = Rows::bits(first);
#pragma GCC unroll 8
      for (int v = 0; v < 8; ++v) add_panel_quad<Rows>(w, 8 * g + v, q + 4 * v, stride, sum);
      Float scale_w[R];
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) scale_w[i] = scale[g][i];
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
        for (int i = 0; i < R; ++i)
          acc[t][i] = Rows::fma(Rows::sub(Rows::from_bits(sum[t][i]), start[t][g]),
                                Rows::mul(scale_w[i], scale_x[t * scales + g]), acc[t][i]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) to[t * R + i] = acc[t][i];
  }

 private:
  static constexpr float kFloat = 12582912.0f;  // 1.5 * 2^23
};

}  // namespace
}  // namespace qwen3cpu::vnni
