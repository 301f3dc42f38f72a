// Four rows side by side, for packing and rounding (pack_q8.cc, pack_q4.cc, pack_q4s.cc, round_q4.cc,
// block_moments.cc).
#pragma once

#include <cfloat>
#include <cstring>

#include "layout/format.h"

namespace qwen3cpu::packing {

// A vector type of the compiler: baseline SSE2 or NEON, no intrinsics.
typedef float Rows __attribute__((vector_size(16)));
inline constexpr int kLanes = 4;

inline Rows min(Rows a, Rows b) { return a < b ? a : b; }
inline Rows max(Rows a, Rows b) { return a > b ? a : b; }

inline Rows round_to_integer(Rows x) {
  const Rows round = {0x1.8p+23f, 0x1.8p+23f, 0x1.8p+23f, 0x1.8p+23f};
  return (x + round) - round;
}

inline Rows quantize(Rows u, Rows inverse) {
  const Rows low = {-8, -8, -8, -8}, high = {7, 7, 7, 7};
  return round_to_integer(max(min(u * inverse, high), low));
}

// Nibbles of group g of a block of q4 or q4s, `rows` rows of the tile from first_row on. q [32][rows]: -8..7.
template <class Block>
void store_nibbles(const int8_t* const (&q)[kGroup], int first_row, int rows, Block& block, int g) {
  for (int i = 0; i < kGroup / 2; ++i)
    for (int r = 0; r < rows; ++r)
      block.q[g][i / 4][first_row + r][i % 4] = static_cast<uint8_t>((q[i][r] + 8) | (q[i + kGroup / 2][r] + 8) << 4);
}

// A row so small that its scale would be subnormal is stored as zeros, because kernels flush subnormals to zero.
inline float normal_or_zero(float row_scale) { return row_scale >= FLT_MIN ? row_scale : 0.0f; }

}  // namespace qwen3cpu::packing
