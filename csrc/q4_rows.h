// q4 groups of four rows at a time, for the two ways of rounding (pack_q4.cc, round_q4.cc).
#pragma once

#include <cfloat>

#include "format.h"

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

// scale: -127..127. q [32]: -8..7. Group g of the block, rows [first_row, first_row + 4) of the tile.
inline void store_group(Rows scale, const Rows (&q)[kGroup], int first_row, Q4Block& block, int g) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const int r = first_row + lane;
    block.scale[g][r] = static_cast<int8_t>(scale[lane]);
    for (int i = 0; i < kGroup / 2; ++i) {
      const int low = static_cast<int>(q[i][lane]) + 8, high = static_cast<int>(q[i + kGroup / 2][lane]) + 8;
      block.q[g][i / 4][r][i % 4] = static_cast<uint8_t>(low | high << 4);
    }
  }
}

// The largest group scale becomes 127. A row so small that its scale would be subnormal (all weights below about 1e-35)
// is stored as zeros: subnormals are flushed when the kernels run.
inline float row_scale_of(float largest_group_scale) {
  const float scale = largest_group_scale / 127.0f;
  return scale >= FLT_MIN ? scale : 0.0f;
}

}  // namespace qwen3cpu::packing
