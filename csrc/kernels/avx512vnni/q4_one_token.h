// q4 weights times the int8 activations of one token: up to four row tiles side by side, 64 bytes of one tile in a
// register. Internal linkage.
//
// A register holds two neighbouring k-quads of a tile's rows. Both halves are added up at the end of a block. So
// weights come in whole cache lines, and a sum over 16 k of a group, at most 16 * 15 * 127 = 30,480, fits int16:
//
//   dot = sum over the groups of 8 s * sum(n * x) + s * (3 (z - 7) - 64) * (sum of x)
//
// One core reads 2 to 4 % more weights a second than with two tiles in a register. A single tile, as the head's second
// products have them, fills a register.
#pragma once

#include "kernels/avx512vnni/rows.h"
#include "kernels/vnni_q4_steps.h"

namespace qwen3cpu::avx512vnni {
namespace {

constexpr int kTogether = 4;  // row tiles, at most

// Quad number `first` of eight in the lower eight lanes, and the next one in the upper eight.
inline __m512i two_quads(__m512i quads, int first) {
  const __m512i halves = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_permutexvar_epi32(_mm512_add_epi32(halves, _mm512_set1_epi32(first)), quads);
}

// Multiplies group g of a tile by 32 activations: the lower half of each lane has the sum over 16 k.
QWEN3CPU_INLINE __m512i multiply_group(const Q4Block& block, int g, const __m512i (&x)[4]) {
  const uint8_t* q = block.q[g][0][0];
  for (int line = 0; line < Q4Block::kGroupBytes; line += kCacheLine)
    _mm_prefetch(reinterpret_cast<const char*>(q) + 1536 + line, _MM_HINT_T0);
  const __m512i a = _mm512_loadu_si512(q), b = _mm512_loadu_si512(q + kCacheLine), zero = _mm512_setzero_si512();
  const __m512i low =
      Rows::add_products(Rows::add_products(zero, Rows::low_nibbles(a), x[0]), Rows::low_nibbles(b), x[1]);
  const __m512i high =
      Rows::add_products(Rows::add_products(zero, Rows::high_nibbles(a), x[2]), Rows::high_nibbles(b), x[3]);
  return _mm512_add_epi32(low, high);
}

// N tiles, `tile`, `tile + apart`, ..., of which y has the rows from y[0], y[8 * apart], ... on. One tile: apart is 0.
template <int N>
__attribute__((noinline)) void multiply_one_token(const Matrix& w, int tile, int apart, const Tokens& x, float* y) {
  constexpr int kPairs = ceil_div(N, 2);
  const int groups = ceil_div(w.cols, kGroup);
  const int64_t apart_bytes = apart * tile_bytes(Format::q4, w.cols), apart_rows = int64_t{apart} * kTileRows;
  const uint8_t* const first = w.tile(tile);
  Rows::Float acc[kPairs];
  for (auto& each : acc) each = Rows::zero();
  for (int b = 0; b * Q4Block::kGroups < groups; ++b) {
    const int left = groups - b * Q4Block::kGroups, here = left < Q4Block::kGroups ? left : Q4Block::kGroups;
    const Q4Block* block[N];
    __m512i dot[N], terms[kPairs];
    for (auto& each : terms) each = _mm512_setzero_si512();
    for (int i = 0; i < N; ++i) {
      block[i] = reinterpret_cast<const Q4Block*>(first + i * apart_bytes) + b;
      _mm_prefetch(reinterpret_cast<const char*>(block[i]->scale) + 1536, _MM_HINT_T0);
      dot[i] = _mm512_setzero_si512();
    }
    const int16_t* sum_x = x.sum + int64_t{b} * Q4Block::kGroups;
    const int8_t* q = x.q + int64_t{b} * Q4Block::kCols;
    // After an odd last group, a step of zero is multiplied by the element behind the sums of the activations.
#pragma GCC unroll 1
    for (int g = 0; g < here; g += 2) {
      const __m512i two_sums = Rows::set1(vnni::four_bytes(sum_x + g));
      __m512i eight_s[kPairs];
#pragma GCC unroll 2
      for (int pair = 0; pair < kPairs; ++pair) {
        const __m512i scales = Rows::scales_q4(block[2 * pair]->scale[g], apart_bytes), s = Rows::low_parts(scales);
        terms[pair] = Rows::add_scaled(terms[pair], two_sums, Rows::times_placed(s, scales, vnni::kPlaces));
        eight_s[pair] = Rows::eightfold(s);
      }
#pragma GCC unroll 2
      for (int next = 0; next < 2; ++next) {
        if (g + next == here) break;
        const __m512i quads = _mm512_broadcast_i64x4(vnni::load32(q + (g + next) * kGroup));
        const __m512i quads_of_lines[4] = {two_quads(quads, 0), two_quads(quads, 2), two_quads(quads, 4),
                                           two_quads(quads, 6)};
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
          const __m512i both = next == 0 ? Rows::lower_halves(eight_s[i / 2]) : Rows::upper_halves(eight_s[i / 2]);
          const __m512i step =
              i % 2 == 0 ? _mm512_shuffle_i64x2(both, both, 0x44) : _mm512_shuffle_i64x2(both, both, 0xee);
          dot[i] = Rows::add_scaled(dot[i], multiply_group(*block[i], g + next, quads_of_lines), step);
        }
      }
    }
    for (int pair = 0; pair < kPairs; ++pair) {
      const __m512i upper = dot[2 * pair + (N > 1 ? 1 : 0)];
      const __m512i low = _mm512_shuffle_i64x2(dot[2 * pair], upper, 0x44);
      const __m512i high = _mm512_shuffle_i64x2(dot[2 * pair], upper, 0xee);
      const __m512i total = _mm512_add_epi32(_mm512_add_epi32(low, high), terms[pair]);
      acc[pair] = Rows::fma(total, x.scale[b], acc[pair]);
    }
  }
  for (int pair = 0; pair < kPairs; ++pair) {
    const int row_tile = 2 * pair * apart;
    const Rows::Float row_scale = Rows::load_floats(w.row_scales(tile + row_tile), apart_rows);
    Rows::store(y + row_tile * kTileRows, apart_rows, Rows::mul(acc[pair], row_scale));
  }
}

// A MatmulFn of one token.
inline void multiply_q4_one_token(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int token,
                                  float* y) {
  for_token_runs<1>(x, token, 1, y, 0, [&](auto, const Tokens& tokens, float* to) {
    for_tiles_side_by_side<kTogether>(first_tile, n_tiles, [&](auto n, int tile, int apart) {
      multiply_one_token<n.value>(w, tile, n.value > 1 ? apart : 0, tokens, to + (tile - first_tile) * kTileRows);
    });
  });
}

}  // namespace
}  // namespace qwen3cpu::avx512vnni
