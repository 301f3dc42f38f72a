// q4 weights with their steps multiplied in, times int8 activations by VPDPBUSD, for a variant's rows (vnni.h).
// Internal linkage.
//
// Bytes n * s are at most 225. One sum runs over a block of 256 k, A = sum(n * s * x). The remaining term is the same
// for every k of a group, so it is multiplied by the sums of the activations, two groups in a VPDPWSSD:
//
//   dot = 8 * A + sum over the groups of s * (3 (z - 7) - 64) * (sum of x)
//
// |8 * A| <= 8 * 256 * 225 * 127 = 58,521,600, the rest is at most 8 * 1,275 * 4,064 = 41,452,800: int32 holds it.
//
// pin() in these loops: without it GCC 12 keeps more values at a time than there are registers. Every loop over
// registers has a pragma of its own: without it GCC keeps sums in memory.
#pragma once

#include "kernels/vnni.h"

namespace qwen3cpu::vnni {
namespace {

constexpr int kPairs = Q4Block::kGroups / 2;

// By z: 3 (z - 7) - 64.
alignas(16) constexpr int8_t kPlaces[16] = {-85, -82, -79, -76, -73, -70, -67, -64,
                                            -61, -58, -55, -52, -49, -46, -43, -40};

// The unpacked scales of a block of R registers of row tiles.
template <class Rows, int R>
struct Steps {
  typename Rows::Int step[Q4Block::kGroups][R];  // s in both halves of a lane
  typename Rows::Int place[kPairs][R];           // s * (3 (z - 7) - 64) of two groups

  // The last block has zeros for missing groups.
  QWEN3CPU_INLINE void read(const Q4Block* const (&block)[R], int64_t apart) {
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) {
        const typename Rows::Int scales = Rows::scales_q4(block[i]->scale[2 * p], apart), s = Rows::low_parts(scales);
        place[p][i] = Rows::times_placed(s, scales, kPlaces);
        step[2 * p][i] = Rows::twice_lower(s);
        step[2 * p + 1][i] = Rows::twice_upper(s);
      }
  }
};

template <class Rows, int R, int T>
QWEN3CPU_INLINE void clear(typename Rows::Int (&sum)[T][R]) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) sum[t][i] = Rows::set1(0);
}

// acc[t][i] = fma(float(8 * sum + terms of the places), scale_x[b], acc[t][i]) for block b, which has `groups` groups.
// After an odd last group, a step of zero is multiplied by the element behind the sums of the activations.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void finish_block(const typename Rows::Int (&places)[kPairs][R], int groups, const Tokens& x, int b,
                                  typename Rows::Int (&sum)[T][R], typename Rows::Float* acc) {
  const int16_t* sum_x = x.sum + int64_t{b} * Q4Block::kGroups;
  const int64_t sums = x.sums;
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) sum[t][i] = Rows::eightfold(sum[t][i]);
#pragma GCC unroll 1
  for (int p = 0; 2 * p < groups; ++p) {
    typename Rows::Int place[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) place[i] = places[p][i];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      typename Rows::Int two = Rows::set1(four_bytes(sum_x + t * sums + 2 * p));
      Rows::pin(two);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        sum[t][i] = Rows::add_scaled(sum[t][i], two, place[i]);
        Rows::pin(sum[t][i]);
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) acc[t * R + i] = Rows::fma(sum[t][i], x.scale[t * x.scales + b], acc[t * R + i]);
}

// sum[t][i] += n * s * x_t over group g of the blocks; x: first k of the group.
template <class Rows, int R, int T>
QWEN3CPU_INLINE void add_steps_group(const Q4Block* const (&block)[R], int64_t apart, int g,
                                     const typename Rows::Int (&step)[R], const int8_t* x, int64_t stride,
                                     typename Rows::Int (&sum)[T][R]) {
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    typename Rows::Int low[R], high[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      if (v % 2 == 0) prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->q[g][v], apart);
      const typename Rows::Int two = Rows::load(block[i]->q[g][v], apart);
      low[i] = Rows::times(Rows::low_nibbles(two), step[i]);
      high[i] = Rows::times(Rows::high_nibbles(two), step[i]);
    }
    add_quad<Rows>(low, x + 4 * v, stride, sum);
    add_quad<Rows>(high, x + 16 + 4 * v, stride, sum);
  }
}

// R registers of row tiles, tile `tile` first and `apart` tiles from each other.
template <class Rows, int R, int T>
__attribute__((noinline)) void multiply_steps(const Matrix& w, int tile, int apart, const Tokens& x, float* y,
                                              int64_t ldy) {
  const int groups = ceil_div(w.cols, kGroup);
  const int64_t apart_bytes = apart * tile_bytes(Format::q4, w.cols), apart_rows = int64_t{apart} * kTileRows;
  const Q4Block* block[R];
  typename Rows::Float acc[T * R];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) block[i] = reinterpret_cast<const Q4Block*>(w.tile(tile + i * Rows::kTiles * apart));
  for (auto& each : acc) each = Rows::zero();
  for (int b = 0; b * Q4Block::kGroups < groups; ++b) {
    const int left = groups - b * Q4Block::kGroups, here = left < Q4Block::kGroups ? left : Q4Block::kGroups;
    Steps<Rows, R> steps;
    steps.read(block, apart_bytes);
    typename Rows::Int sum[T][R];
    clear<Rows>(sum);
    const int8_t* q = x.q + int64_t{b} * Q4Block::kCols;
#pragma GCC unroll 1
    for (int g = 0; g < here; ++g, q += kGroup)
      add_steps_group<Rows>(block, apart_bytes, g, steps.step[g], q, x.stride, sum);
    finish_block<Rows>(steps.place, here, x, b, sum, acc);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      ++block[i];
      prefetch<Rows, 1536, _MM_HINT_T0>(block[i]->scale, apart_bytes);
    }
  }
  for (int i = 0; i < R; ++i) {
    const int row_tile = i * Rows::kTiles * apart;
    const typename Rows::Float row_scale = Rows::load_floats(w.row_scales(tile + row_tile), apart_rows);
    for (int t = 0; t < T; ++t)
      Rows::store(y + t * ldy + row_tile * kTileRows, apart_rows, Rows::mul(acc[t * R + i], row_scale));
  }
}

// A MatmulFn for Rows::kStepsLeast to Rows::kPanelLeast - 1 tokens.
template <class Rows>
void multiply_q4_steps(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token,
                       int n_tokens, float* y, int64_t ldy) {
  // The shortest runs come from one token more than a run holds.
  constexpr int most = Rows::kStepsRun, half = Rows::kPanelLeast > most + 1 ? (most + 1) / 2 : most;
  constexpr int least = half < Rows::kStepsLeast ? half : Rows::kStepsLeast;
  for_token_runs<most, least>(x, first_token, n_tokens, y, ldy, [&](auto count, const Tokens& tokens, float* to) {
    for_tiles_side_by_side<Rows::kStepsRegisters * Rows::kTiles>(first_tile, n_tiles, [&](auto n, int tile, int apart) {
      multiply_steps<Rows, ceil_div(n.value, Rows::kTiles), count.value>(w, tile, n.value > 1 ? apart : 0, tokens,
                                                                         to + (tile - first_tile) * kTileRows, ldy);
    });
  });
}

}  // namespace
}  // namespace qwen3cpu::vnni
