// q4 and q4s weights times int8 activations: one row tile against up to kMaxTokens tokens of a Dot (dot.h), nibbles
// unpacked in registers. Internal linkage; a variant's q4.cc and q4s.cc pass their Dot.
//
// A format defines the factors of a group's sums, and how the offset of its weights is corrected.
#pragma once

#include "kernels/neon/dot.h"

namespace qwen3cpu::neon {
namespace {

constexpr int kQ4Prefetch = 1024;  // bytes ahead
constexpr int kQ4Groups = Q4Block::kGroups;

inline Rows widen(int16x8_t x) { return {vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x)}; }

// A group's sums start at -8 * (sum of the activations), and are multiplied by its scale.
struct Q4sFormat {
  using Block = Q4sBlock;
  static int32_t start(int16_t sum) { return -8 * sum; }

  template <int T>
  static QWEN3CPU_INLINE void start_block(const Block& block, const int16_t*, int64_t, Rows (&factor)[kQ4Groups],
                                          Rows (&dot)[T]) {
#pragma GCC unroll 8
    for (int g = 0; g < kQ4Groups; ++g) factor[g] = widen(vmovl_s8(vld1_s8(block.scale[g])));
    for (Rows& each : dot) each = {vdupq_n_s32(0), vdupq_n_s32(0)};
  }
};

// A group's sums of n * x are multiplied by 8 s, and the sum of its activations by s * (3 (z - 7) - 64). The last block
// has steps of zero for missing groups. They are multiplied by the elements behind the sums.
struct Q4Format {
  using Block = Q4Block;
  static int32_t start(int16_t) { return 0; }

  template <int T>
  static QWEN3CPU_INLINE void start_block(const Block& block, const int16_t* sum, int64_t sums,
                                          Rows (&factor)[kQ4Groups], Rows (&dot)[T]) {
    int16x8_t place[kQ4Groups];
#pragma GCC unroll 4
    for (int g = 0; g < kQ4Groups; g += 2) {
      const uint8x16_t both = vld1q_u8(block.scale[g]);
      const int8x16_t s = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
      const int8x16_t z = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
      const int8x16_t places = vmlaq_s8(vdupq_n_s8(-85), z, vdupq_n_s8(3));  // 3 (z - 7) - 64
      place[g] = vmull_s8(vget_low_s8(s), vget_low_s8(places));
      place[g + 1] = vmull_high_s8(s, places);
      factor[g] = widen(vshll_n_s8(vget_low_s8(s), 3));
      factor[g + 1] = widen(vshll_high_n_s8(s, 3));
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const int16x8_t x = vld1q_s16(sum + t * sums);
      dot[t] = {vdupq_n_s32(0), vdupq_n_s32(0)};
      add_place<0>(place, x, dot[t]);
      add_place<1>(place, x, dot[t]);
      add_place<2>(place, x, dot[t]);
      add_place<3>(place, x, dot[t]);
      add_place<4>(place, x, dot[t]);
      add_place<5>(place, x, dot[t]);
      add_place<6>(place, x, dot[t]);
      add_place<7>(place, x, dot[t]);
    }
  }

 private:
  template <int kGroupOfBlock>
  static QWEN3CPU_INLINE void add_place(const int16x8_t (&place)[kQ4Groups], int16x8_t sums, Rows& dot) {
    dot.low = vmlal_laneq_s16(dot.low, vget_low_s16(place[kGroupOfBlock]), sums, kGroupOfBlock);
    dot.high = vmlal_high_laneq_s16(dot.high, place[kGroupOfBlock], sums, kGroupOfBlock);
  }
};

// Adds the products of 32 k, whose nibbles have the layout of a group of q4.
template <int T, class Sums>
QWEN3CPU_INLINE void add_nibbles(const uint8_t* nibbles, const int8_t* x, int64_t stride, Sums& sums) {
  prefetch(nibbles, kQ4Prefetch);
  prefetch(nibbles + kCacheLine, kQ4Prefetch);
  Weights16 w;
#pragma GCC unroll 2
  for (int part = 0; part < 2; ++part) {  // low nibbles, then high ones: 16 weights of 8 rows fill 8 registers
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const uint8x16_t two = vld1q_u8(nibbles + 32 * v + 16 * half);
        w[v][half] = part == 0 ? vandq_u8(two, vdupq_n_u8(15)) : vshrq_n_u8(two, 4);
      }
    sums.add(w, x + part * kGroup / 2, stride);
  }
}

// dot[t] += factor * (first value + sums of nibble * x_t over group g of the block).
template <class Dot, class Format, int T>
QWEN3CPU_INLINE void add_q4_group(const typename Format::Block& block, int g, const int8_t* x, const int16_t* sum,
                                  const Tokens& tokens, Rows factor, Rows (&dot)[T]) {
  int32_t start[T];
  for (int t = 0; t < T; ++t) start[t] = Format::start(sum[t * tokens.sums]);
  typename Dot::template Sums<T, true> sums(start);
  add_nibbles<T>(block.q[g][0][0], x, tokens.stride, sums);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const Rows rows = sums.rows(t);
    dot[t].low = vmlaq_s32(dot[t].low, rows.low, factor.low);
    dot[t].high = vmlaq_s32(dot[t].high, rows.high, factor.high);
  }
}

// y[t * ldy + r] of one row tile and T tokens.
template <class Dot, class Format, int T>
__attribute__((noinline)) void multiply_q4_tile(const uint8_t* tile, const float* row_scales, int groups,
                                                const Tokens& x, float* y, int64_t ldy) {
  const auto* blocks = reinterpret_cast<const typename Format::Block*>(tile);
  F8 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = all8(0.0f);
  for (int b = 0; b * kQ4Groups < groups; ++b) {
    const int left = groups - b * kQ4Groups, here = left < kQ4Groups ? left : kQ4Groups;
    const int8_t* q = x.q + int64_t{b} * Q4Block::kCols;
    const int16_t* sum = x.sum + int64_t{b} * kQ4Groups;
    Rows factor[kQ4Groups], dot[T];
    Format::template start_block<T>(blocks[b], sum, x.sums, factor, dot);
#pragma GCC unroll 1
    for (int g = 0; g < here; ++g)
      add_q4_group<Dot, Format, T>(blocks[b], g, q + g * kGroup, sum + g, x, factor[g], dot);
    for (int t = 0; t < T; ++t)
      acc[t] = fma(acc[t], F8{vcvtq_f32_s32(dot[t].low), vcvtq_f32_s32(dot[t].high)}, x.scale[t * x.scales + b]);
  }
  for (int t = 0; t < T; ++t) store8(y + t * ldy, acc[t] * load8(row_scales));
}

// A MatmulFn of a format.
template <class Dot, class Format>
void multiply_q4(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                 float* y, int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  for_token_runs<Dot::kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    for (int tile = 0; tile < n_tiles; ++tile)
      multiply_q4_tile<Dot, Format, count.value>(w.tile(first_tile + tile), w.row_scales(first_tile + tile), groups,
                                                 tokens, to + tile * kTileRows, ldy);
  });
}

}  // namespace
}  // namespace qwen3cpu::neon
