// Four rows side by side, for packing and rounding (pack_q8.cc, pack_q4.cc, round_q4.cc, block_moments.cc).
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

// Group g of the block, `rows` rows of the tile from first_row on. scale [rows]: -127..127; q [32][rows]: -8..7.
inline void store_group(const int8_t* scale, const int8_t* const (&q)[kGroup], int first_row, int rows, Q4Block& block,
                        int g) {
  std::memcpy(block.scale[g] + first_row, scale, static_cast<size_t>(rows));
  for (int i = 0; i < kGroup / 2; ++i)
    for (int r = 0; r < rows; ++r)
      block.q[g][i / 4][first_row + r][i % 4] = static_cast<uint8_t>((q[i][r] + 8) | (q[i + kGroup / 2][r] + 8) << 4);
}

// The largest group scale becomes 127. A row so small that its scale would be subnormal (all weights below about 1e-35)
// is stored as zeros: subnormals are flushed when the kernels run.
inline float row_scale_of(float largest_group_scale) {
  const float scale = largest_group_scale / 127.0f;
  return scale >= FLT_MIN ? scale : 0.0f;
}

}  // namespace qwen3cpu::packing
