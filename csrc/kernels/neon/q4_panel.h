// q4 weights times int8 activations of many tokens, for variants whose products are as fast with bytes as with nibbles.
// Internal linkage; a variant's q4.cc passes its Dot.
//
// A block of 256 k of a row tile is unpacked once, with its steps multiplied into the weights, and multiplied with all
// tokens. So one sum runs over the whole block, A = sum(m * s * x), where m is n or n - 8. The remaining terms are
// computed from the sums of the activations:
//
//   dot = 8 * A + sum over the groups of s * (3 (z - 7) - (64 where m is n)) * (sum of x)
//
// |8 * A| <= 8 * 256 * 225 * 127 = 58,521,600, the rest is at most 8 * 1,275 * 4,064 = 41,452,800: int32 holds it.
//
// A Dot has these members for it:
//   kPanelLeast, kPanelRun      tokens from which unpacking pays; tokens that share the loads of weights
//   kPanelPlace                 constant for which 3 z + kPanelPlace is 3 (z - 7) or 3 (z - 7) - 64
//   times(nibbles, s)           bytes m * s
//   arrange(w, to)              writes 16 k of 8 rows, 128 bytes, as add() reads them
//   PanelSums<T>                sums for T tokens and 8 rows, from 0
//     add(w, x, stride)         adds 16 k
//     rows(t)                   token t's sums
#pragma once

#include "kernels/neon/dot.h"

namespace qwen3cpu::neon {
namespace {

constexpr int kPanelTokens = 256;  // tokens whose results are kept during all blocks of k

// A block of a row tile, ready to be multiplied.
struct Panel {
  uint8_t w[2 * Q4Block::kGroups][kGroup / 2 * kTileRows];  // [group: first 16 k, last 16 k]
  int16_t place[Q4Block::kGroups][kTileRows];
};

struct alignas(64) PanelScratch {
  Panel panel;
  float acc[kPanelTokens][kTileRows];
};
static_assert(sizeof(PanelScratch) <= matmul_scratch_bytes(1));

alignas(16) constexpr uint8_t kFourTimes[2][16] = {{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3},
                                                   {4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7}};

// Unpacks the first `groups` groups, and prefetches the next block. The other groups get the places of zero steps.
template <class Dot>
void unpack(const Q4Block& block, int groups, Panel& panel) {
  for (int g = 0; g < Q4Block::kGroups; ++g) {
    const uint8x8_t scales = vld1_u8(block.scale[g]), s = vand_u8(scales, vdup_n_u8(15));
    const int8x8_t z = vreinterpret_s8_u8(vshr_n_u8(scales, 4));
    const int8x8_t place = vmla_s8(vdup_n_s8(Dot::kPanelPlace), z, vdup_n_s8(kQ4ZeroParts));
    vst1q_s16(panel.place[g], vmull_s8(vreinterpret_s8_u8(s), place));
    if (g >= groups) continue;
    prefetch(block.q[g][0], sizeof(Q4Block));
    prefetch(block.q[g][2], sizeof(Q4Block));
    const uint8x16_t step[2] = {vqtbl1q_u8(vcombine_u8(s, s), vld1q_u8(kFourTimes[0])),
                                vqtbl1q_u8(vcombine_u8(s, s), vld1q_u8(kFourTimes[1]))};
    Weights16 first, last;
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const uint8x16_t two = vld1q_u8(block.q[g][v][4 * half]);
        first[v][half] = Dot::times(vandq_u8(two, vdupq_n_u8(15)), step[half]);
        last[v][half] = Dot::times(vshrq_n_u8(two, 4), step[half]);
      }
    Dot::arrange(first, panel.w[2 * g]);
    Dot::arrange(last, panel.w[2 * g + 1]);
  }
}

template <int kGroupOfBlock>
QWEN3CPU_INLINE void add_place(const Panel& panel, int16x8_t sums, Rows& dot) {
  const int16x8_t place = vld1q_s16(panel.place[kGroupOfBlock]);
  dot.low = vmlal_laneq_s16(dot.low, vget_low_s16(place), sums, kGroupOfBlock);
  dot.high = vmlal_high_laneq_s16(dot.high, place, sums, kGroupOfBlock);
}

// acc[t] = fma(float(dot), scale_x[b], acc[t]) for block b, which has `groups` groups, and T tokens.
template <class Dot, int T>
__attribute__((noinline)) void multiply_panel(const Panel& panel, int groups, const Tokens& x, int b, float* acc) {
  const int8_t* q = x.q + int64_t{b} * Q4Block::kCols;
  const int64_t stride = x.stride;
  typename Dot::template PanelSums<T> sums;
#pragma GCC unroll 1
  for (int part = 0; part < 2 * groups; ++part, q += kGroup / 2) sums.add(panel.w[part], q, stride);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    // Elements behind the sums of the last groups are multiplied by steps of zero.
    const int16x8_t sum = vld1q_s16(x.sum + t * x.sums + int64_t{b} * Q4Block::kGroups);
    const Rows products = sums.rows(t);
    Rows dot = {vshlq_n_s32(products.low, 3), vshlq_n_s32(products.high, 3)};
    add_place<0>(panel, sum, dot);
    add_place<1>(panel, sum, dot);
    add_place<2>(panel, sum, dot);
    add_place<3>(panel, sum, dot);
    add_place<4>(panel, sum, dot);
    add_place<5>(panel, sum, dot);
    add_place<6>(panel, sum, dot);
    add_place<7>(panel, sum, dot);
    const F8 floats = {vcvtq_f32_s32(dot.low), vcvtq_f32_s32(dot.high)};
    store8(acc + t * kTileRows, fma(load8(acc + t * kTileRows), floats, x.scale[t * x.scales + b]));
  }
}

// One row tile against up to kPanelTokens tokens.
template <class Dot>
void multiply_q4_row_tile(const Matrix& w, int tile, const Activations& x, int first_token, int n_tokens, float* y,
                          int64_t ldy, PanelScratch& scratch) {
  const int groups = ceil_div(w.cols, kGroup);
  const auto* blocks = reinterpret_cast<const Q4Block*>(w.tile(tile));
  std::memset(scratch.acc, 0, sizeof(scratch.acc[0]) * static_cast<size_t>(n_tokens));
  for (int b = 0; b * Q4Block::kGroups < groups; ++b) {
    const int left = groups - b * Q4Block::kGroups, here = left < Q4Block::kGroups ? left : Q4Block::kGroups;
    unpack<Dot>(blocks[b], here, scratch.panel);
    for_token_runs<Dot::kPanelRun>(x, first_token, n_tokens, scratch.acc[0], kTileRows,
                                   [&](auto count, const Tokens& tokens, float* acc) {
                                     multiply_panel<Dot, count.value>(scratch.panel, here, tokens, b, acc);
                                   });
  }
  const F8 row_scales = load8(w.row_scales(tile));
  for (int t = 0; t < n_tokens; ++t) store8(y + t * ldy, load8(scratch.acc[t]) * row_scales);
}

// A MatmulFn.
template <class Dot>
void multiply_q4_panels(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token,
                        int n_tokens, float* y, int64_t ldy, uint8_t* scratch) {
  for (int t = 0; t < n_tokens; t += kPanelTokens) {
    const int left = n_tokens - t, n = left < kPanelTokens ? left : kPanelTokens;
    for (int tile = 0; tile < n_tiles; ++tile)
      multiply_q4_row_tile<Dot>(w, first_tile + tile, x, first_token + t, n, y + t * ldy + tile * kTileRows, ldy,
                                *reinterpret_cast<PanelScratch*>(scratch));
  }
}

}  // namespace
}  // namespace qwen3cpu::neon
