// The parts that the VPDPBUSD kernels of all quantised formats share. Internal linkage.
//
// A variant is a class of static functions on registers of whole row tiles, with one 32-bit lane for each row:
//   kTiles                  row tiles in a register; a second one lies `apart` bytes (of weights) from the first
//   kMaxTokens              tokens that share the loads of weights
//   kMostSums               sums that fit into the registers together with as many results
//   kStepsLeast             tokens from which it pays to multiply the steps of q4 into its weights (vnni_q4_steps.h)
//   kStepsRun               tokens that share the loads of weights in this case
//   kStepsRegisters         registers that share the loads of activations in this case
//   kPanelLeast, kQ8PanelLeast      tokens from which it pays to unpack the weights in advance (vnni_panel.h)
//   kPanelRun, kQ8PanelRun, kPanelRegisters     as kStepsRun and kStepsRegisters
//   Int, Float              the registers
//   load(p, apart)          one k-quad of every row
//   scales_q4s(p, apart)    8 int8 a tile: the scale in the lower half of a lane, nothing in the upper one
//   scales_q8(p, apart)     8 f16 a tile, as floats
//   load_floats(p, apart)   8 floats a tile; apart in floats
//   store(y, apart, rows)   the same back; a second tile is absent when apart is 0
//   bits(x), from_bits(x)   floats as they are stored, and back
//   sub(a, b)               a - b, with one float b
//   set1, zero, low_nibbles, high_nibbles, mul
//   add_products(sum, w, x) sum + the products of a k-quad with the activations x: four of them, or a register
//   add_scaled(dot, x, s)   dot + the products of both halves of x and s
//   fma(dot, scale, acc)    float(dot) * scale + acc; dot may be floats, and scale one float
//   eightfold(x)            8 * x
//   pin(x)                  keeps x in a register here
// and on the two int16 halves of lanes, for the scales of two groups of q4 side by side:
//   scales_q4(p, apart)     8 bytes of one group and then of the other a tile: the byte in each half
//   low_parts(scales)       bits 0-3
//   times_placed(s, scales, by)     s * by[bits 4-7 of scales]
//   lower_halves(x), upper_halves(x)  one half in the lower half of the lane, nothing in the upper one
//   twice_lower(x), twice_upper(x)  one half in both
//   times(x, s)             x * s
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/token_runs.h"

namespace qwen3cpu::vnni {
namespace {

// Registers that are worked on side by side: up to four row tiles, as long as their sums fit.
template <class Rows>
constexpr int registers(int tokens) {
  const int most = 4 / Rows::kTiles, fitting = Rows::kMostSums / tokens;
  return fitting < 1 ? 1 : fitting < most ? fitting : most;
}

inline __m128i load8(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline int32_t four_bytes(const void* p) {
  int32_t x;
  std::memcpy(&x, p, sizeof(x));
  return x;
}

// Indices for pshufb. kInPairs places two groups' 8 bytes side by side as int16, four rows in each half of a register.
// The others copy the lower or the upper int16 of every pair into both.
alignas(32) constexpr int8_t kInPairs[32] = {0, -1, 8,  -1, 1, -1, 9,  -1, 2, -1, 10, -1, 3, -1, 11, -1,
                                             4, -1, 12, -1, 5, -1, 13, -1, 6, -1, 14, -1, 7, -1, 15, -1};
alignas(16) constexpr int8_t kTwiceLower[16] = {0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13};
alignas(16) constexpr int8_t kTwiceUpper[16] = {2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15};

// Fetches the lines of every tile of a register kAhead bytes ahead.
// always_inline: GCC silently drops calls of a function that only prefetches, because it seems to have no effect.
template <class Rows, int kAhead, auto kHint>
QWEN3CPU_INLINE void prefetch(const void* p, int64_t apart) {
  for (int i = 0; i < Rows::kTiles; ++i) _mm_prefetch(static_cast<const char*>(p) + i * apart + kAhead, kHint);
}

// int32 [tokens][groups of 32] in scratch: factor * (sum of the activations), where a group's sums start.
template <class Rows>
inline const int32_t* start_sums(const Tokens& x, int tokens, int cols, int factor, uint8_t* scratch) {
  const int groups = ceil_div(cols, kGroup);
  auto* start = reinterpret_cast<int32_t*>(scratch);
  static_assert(Rows::kMaxTokens * sizeof(*start) <= 32 * kGroup, "matmul_scratch_bytes holds 32 bytes a column");
  for (int t = 0; t < tokens; ++t)
    for (int g = 0; g < groups; ++g) start[t * groups + g] = factor * x.sum[t * x.sums + g];
  return start;
}

// sum[i][t] += sum(n * x_t) over the 32 k with number k of blocks of nibbles; x: the first of these k.
template <class Rows, class Block, int R, int T>
QWEN3CPU_INLINE void add_32(const Block* const (&block)[R], int64_t apart, int k, const int8_t* x, int64_t stride,
                            typename Rows::Int (&sum)[R][T]) {
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    typename Rows::Int two[R], low[R], high[R];
    for (int i = 0; i < R; ++i) {
      if (v % 2 == 0) prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->q[k][v], apart);
      two[i] = Rows::load(block[i]->q[k][v], apart);
      low[i] = Rows::low_nibbles(two[i]);
      high[i] = Rows::high_nibbles(two[i]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      for (int i = 0; i < R; ++i) sum[i][t] = Rows::add_products(sum[i][t], low[i], x + t * stride + 4 * v);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
      for (int i = 0; i < R; ++i) sum[i][t] = Rows::add_products(sum[i][t], high[i], x + t * stride + 16 + 4 * v);
  }
}

// For formats whose weights have an offset: a group's sums start at the offset times the sum of the activations.
template <int kOffset>
struct OffsetProduct {
  template <class Rows>
  static const int32_t* start(const Tokens& x, int tokens, int cols, uint8_t* scratch) {
    return start_sums<Rows>(x, tokens, cols, kOffset, scratch);
  }
};

// sum[t][i] += products of R registers of weights with four k of every token, from x on.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_quad(const typename Rows::Int (&w)[R], const int8_t* x, int64_t stride,
                              typename Rows::Int (&sum)[T][R]) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    typename Rows::Int quad = Rows::set1(four_bytes(x + t * stride));
    Rows::pin(quad);  // one load for all registers
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      sum[t][i] = Rows::add_products(sum[t][i], w[i], quad);
      Rows::pin(sum[t][i]);
    }
  }
}

// A MatmulFn of a format, whose Product works on R registers of row tiles and T tokens at a time. `Product::start`
// computes the first values of these tokens' sums, in scratch.
template <class Rows, class Product>
void multiply(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
              float* y, int64_t ldy, uint8_t* scratch) {
  for_token_runs<Rows::kMaxTokens>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    constexpr int T = count.value;
    const auto* start = Product::template start<Rows>(tokens, T, w.cols, scratch);
    for_tiles_side_by_side<registers<Rows>(T) * Rows::kTiles>(first_tile, n_tiles, [&](auto n, int tile, int apart) {
      Product::template run<Rows, ceil_div(n.value, Rows::kTiles), T>(w, tile, n.value > 1 ? apart : 0, tokens, start,
                                                                      to + (tile - first_tile) * kTileRows, ldy);
    });
  });
}

// The peak of VPDPBUSD: multiply-adds done in `rounds` rounds of independent chains that never leave the registers.
template <class Rows>
int64_t probe(int64_t rounds) {
  using Int = typename Rows::Int;
  constexpr int chains = 12;  // a latency of 5 at two a cycle, with room for operands in 16 registers
  const auto escape = [](Int& in_register) { asm volatile("" : "+v"(in_register)); };
  Int acc[chains];
#pragma GCC unroll 12
  for (Int& a : acc) a = Rows::set1(0);
  Int w = Rows::set1(0x03030303), x = Rows::set1(~0x01010101);  // 3 and -2
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (Int& a : acc) {
      escape(w);
      escape(x);
      a = Rows::add_products(a, w, x);
      escape(a);
    }
  return rounds * chains * static_cast<int64_t>(sizeof(Int));
}

}  // namespace
}  // namespace qwen3cpu::vnni
