// q4 weights times int8 activations of many tokens by VPDPBUSD, as a format of vnni_panel.h. Internal linkage.
//
// Unpacking multiplies the steps into the weights (vnni_q4_steps.h).
#pragma once

#include "kernels/vnni_panel.h"
#include "kernels/vnni_q4_steps.h"

namespace qwen3cpu::vnni {
namespace {

template <class Rows, int R>
struct Q4Panel {
  static constexpr Format kFormat = Format::q4;
  static constexpr int kRun = Rows::kPanelRun;

  struct RowScale {
    RowScale(const Matrix& w, int tile, int64_t apart) : scale(Rows::load_floats(w.row_scales(tile), apart)) {}
    typename Rows::Float operator()(typename Rows::Float sum) const { return Rows::mul(sum, scale); }

    typename Rows::Float scale;
  };

  static_assert(Q4Block::kCols == kPanelCols);
  typename Rows::Int w[kPanelCols / 4][R];
  Steps<Rows, R> steps;

  __attribute__((noinline)) void unpack(const uint8_t* const (&bytes)[R], int64_t apart, int64_t ahead, int groups) {
    const Q4Block* block[R];
    for (int i = 0; i < R; ++i) block[i] = reinterpret_cast<const Q4Block*>(bytes[i]);
    steps.read(block, apart);
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 1
      for (int g = 0; g < groups; ++g) unpack_group(*block[i], apart, ahead, g, i);
  }

  template <int T>
  __attribute__((noinline)) void multiply(int groups, const Tokens& x, int b, typename Rows::Float* acc) const {
    const int64_t stride = x.stride;
    const int8_t* q = x.q + int64_t{b} * kPanelCols;
    typename Rows::Int sum[T][R];
    clear<Rows>(sum);
#pragma GCC unroll 1
    for (int quad = 0; quad < kGroup / 4 * groups; quad += 2, q += 8)
#pragma GCC unroll 2
      for (int next = 0; next < 2; ++next) add_panel_quad<Rows>(w, quad + next, q + 4 * next, stride, sum);
    finish_block<Rows>(steps.place, groups, x, b, sum, acc);
  }

 private:
  // Group g of register i.
  QWEN3CPU_INLINE void unpack_group(const Q4Block& block, int64_t apart, int64_t ahead, int g, int i) {
    const typename Rows::Int s = steps.step[g][i];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      if (v % 2 == 0) prefetch<Rows, 0, _MM_HINT_T0>(block.q[g][v][0] + ahead, apart);
      const typename Rows::Int two = Rows::load(block.q[g][v], apart);
      w[8 * g + v][i] = Rows::times(Rows::low_nibbles(two), s);
      w[8 * g + 4 + v][i] = Rows::times(Rows::high_nibbles(two), s);
    }
  }
};

}  // namespace
}  // namespace qwen3cpu::vnni
